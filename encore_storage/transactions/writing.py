"""The blocks in which one thread writes to a store, and the changes made in them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol

from encore_events import forks
from encore_events.events import BaseEvent
from encore_storage.errors import ForkedStoreError, StoreError, abandoned_error
from encore_storage.metadata import Metadata
from encore_storage.observing.interrupts import retry
from encore_storage.transactions.turn import Lease, Turn


class Change(NamedTuple):
    """The change made by a write.

    Attributes:
        is_new: whether there was no value under the key.
        metadata: the metadata as it is now, or as it was before the deletion.
    """

    is_new: bool
    metadata: Metadata


class Backend(Protocol):
    """A store as the block of a write uses it."""

    def _begin_writing(self, write: Write) -> None:
        """Acquire what a write needs."""

    def _end_writing(self, write: Write, *, keep: bool) -> None:
        """Keep what was written, or undo it as far as possible."""

    def _has_kept(self, write: Write) -> bool:
        """Return whether the data was kept, after an interrupt of `_end_writing`."""

    def _release_writing(self, write: Write) -> None:
        """Release what an outermost write has acquired; may be called twice, and in another thread."""


class Effect:
    """The change that an operation made in a store, known even if an interrupt kept its backend from returning it.

    Attributes:
        store: the store.
        operation: a weak reference to the operation, which ends a write that was interrupted.
        write: the outermost write that the operation has entered.
    """

    __slots__ = ("operation", "store", "write")

    def __init__(self, store: object, operation: object) -> None:
        self.store = store
        self.operation = weakref.ref(operation)
        self.write: Write | None = None


class _ThreadState(threading.local):
    """The effect of the operation that the calling thread is in. An interrupted operation itself is collected."""

    effect: Effect | None = None


thread_state = _ThreadState()


WAITING, BEGINNING, OPEN, KEEPING, UNDOING, DECIDED, OVER = range(7)
"""The phases of a write."""


class Write(Lease):
    """One write of a backend; made by `Writing`.

    Attributes:
        part_of: the lease that it joined, a transaction or another write of the same thread and task, or None.
        enclosing: the write around it, or None.
        change: its change, once known.
        is_kept: whether the change took effect, once known.
        held: the events of changes inside of it, made by its source or a listener, which are valid if it is kept.
        mark: free for the backend to use.
    """

    __slots__ = (
        "_backend",
        "_is_there",
        "_is_tried",
        "_turn",
        "change",
        "effect",
        "enclosing",
        "held",
        "is_kept",
        "mark",
        "part_of",
        "phase",
    )

    def __init__(self, holder: Writing, backend: Backend, turn: Turn) -> None:
        super().__init__(holder)
        self.part_of = turn.mine
        self.enclosing: Write | None = None
        self.change: Change | None = None
        self.is_kept = False
        self.held: dict[int, BaseEvent] = {}
        self.mark: object = None
        self.phase = WAITING
        self.effect = thread_state.effect
        self._backend = backend
        self._turn = turn
        self._is_there: Callable[[], bool] | None = None
        self._is_tried = False

    def expect(self, change: Change, is_there: Callable[[], bool] | None = None) -> None:
        """Announce the change that the next step, or the end of the block, makes.

        Args:
            change: the change.
            is_there: returns whether the change has been made, for changes that cannot be undone afterwards. It is only
                called after an interrupt or an error.
        """
        self._is_there = is_there
        self.change = change

    def begin(self) -> None:
        """Wait for the turn, unless the caller has it, and have the backend acquire what it needs."""
        effect, lease = self.effect, self.part_of
        if effect is not None and effect.store is self._backend and effect.write is None:
            effect.write = self
        if lease is None:
            lease = self
            self._turn.take(self)
        self.phase = BEGINNING
        self._backend._begin_writing(self)  # noqa: SLF001 (the backend's own protocol)
        innermost = lease.innermost
        self.enclosing = innermost if isinstance(innermost, Write) else None
        lease.innermost = self
        self.phase = OPEN
        self.is_open = True

    def finish(self, error: BaseException | None) -> None:
        """Keep what was written, or undo it because of `error`, and release the turn.

        Called again after an interrupt, which is then the `error`, it resumes.
        """
        if self.phase == OPEN:
            lease = self.part_of
            if lease is None:
                lease, self.is_open = self, False
            if lease.innermost is not self:
                undo_interrupted(lease, self)
            self.phase = KEEPING if error is None else UNDOING
        if self.phase == KEEPING:
            self._keep(error)
        if self.phase in (BEGINNING, UNDOING):
            self._undo()
        if self.phase in (WAITING, DECIDED):
            self._leave()

    @property
    def is_over(self) -> bool:
        """True if the write was kept or undone, and has released the turn."""
        return self.phase == OVER

    @property
    def is_owned_by_operation(self) -> bool:
        """True if its operation is alive and will end it."""
        effect = self.effect
        return (
            effect is not None
            and effect.write is self
            and effect.operation() is not None
            and self._is_alive() is not None
        )

    @property
    def is_abandoned(self) -> bool:
        """True if nothing can end it: neither its holder nor its operation."""
        return not self.is_owned_by_operation and super().is_abandoned

    def reclaim(self, turn: Turn) -> None:
        """Undo an abandoned write. Called in a background thread."""
        if self.phase == OVER or self.process is not forks.current:
            return
        try:
            retry(self.finish, abandoned_error())
        finally:
            turn.free(self)  # even if its backend raised

    def _keep(self, failure: BaseException | None) -> None:
        backend = self._backend
        if not self._is_tried:
            self._is_tried = True
            backend._end_writing(self, keep=True)  # noqa: SLF001 (the backend's own protocol)
        elif isinstance(failure, StoreError) or not (self._is_there_now() or backend._has_kept(self)):  # noqa: SLF001 (as above)
            self.phase = UNDOING
            return
        self.is_kept = True
        self.phase = DECIDED

    def _undo(self) -> None:
        self.phase = UNDOING
        try:
            self._backend._end_writing(self, keep=False)  # noqa: SLF001 (the backend's own protocol)
        except (StoreError, OSError):
            self._decide_undone()
            raise
        self._decide_undone()

    def _decide_undone(self) -> None:
        self.is_kept = self._is_there_now()
        self.phase = DECIDED

    def _leave(self) -> None:
        lease, enclosing = self.part_of or self, self.enclosing
        if (
            self.phase == DECIDED
            and enclosing is not None
            and self.is_kept
            and enclosing.effect is self.effect
            and self.change
        ):
            enclosing.held.update(self.held)
            enclosing.expect(self.change, self._is_there)
        if lease.innermost is self:
            lease.innermost = enclosing
        if lease is self:
            self.is_open = False
            self._backend._release_writing(self)  # noqa: SLF001 (the backend's own protocol)
            self._turn.free(self)
        self.phase = OVER

    def _is_there_now(self) -> bool:
        return self._is_there is not None and self._is_there()


def undo_interrupted(lease: Lease, write: Write | None = None) -> None:
    """Undo the interrupted writes inside of `write`, or of the lease."""
    while isinstance(innermost := lease.innermost, Write) and innermost is not write:
        innermost.finish(abandoned_error())


class Writing:
    """A block in which nobody else writes to the store; it waits for others, unless it is inside of such a block."""

    __slots__ = ("__weakref__", "_backend", "_turn", "_write")

    def __init__(self, backend: Backend, turn: Turn) -> None:
        self._backend = backend
        self._turn = turn
        self._write: Write | None = None

    def __enter__(self) -> Write:
        self._write = write = Write(self, self._backend, self._turn)
        self.__class__ = OpenWriting
        try:
            write.begin()
        except BaseException as error:
            retry(self._end, error)
            raise
        return write

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Keep what was written, or undo it if the block raised."""
        write = self._write
        if write is None:
            return
        if write.process is not forks.current:
            self._leave_in_child(write, error)
        else:
            retry(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if self._write is not None:
            self._write.finish(error)
        self.__class__ = Writing

    def _leave_in_child(self, write: Write, error: BaseException | None) -> None:
        self._turn.leave_inherited(write)
        if error is None:
            raise ForkedStoreError(
                f"a write to store {self._turn.store!r}", write.process.pid, "write again in the child"
            )


class OpenWriting(Writing):
    """A block that has not been left: it has a finalizer, for the reason given in `OpenHeldTurn`."""

    __slots__ = ()

    def __del__(self) -> None:
        """Have another thread undo an interrupted write."""
        write = self._write
        if write is None or write.phase == OVER or write.process is not forks.current:
            return
        if write.part_of is None and not write.is_owned_by_operation:
            self._turn.reclaim(write)
