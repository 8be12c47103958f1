"""A block in which nobody else writes to a store, and what is changed in it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol

from encore_events import forks
from encore_events.events import BaseEvent
from encore_storage.errors import ForkedStoreError, StoreError, cut_off
from encore_storage.metadata import Metadata
from encore_storage.observing.interrupts import go_on
from encore_storage.transactions.turn import Lease, Turn


class Change(NamedTuple):
    """What a write did.

    Attributes:
        is_new: whether there was no value under the key before.
        metadata: the metadata as it is now, or of what was deleted.
    """

    is_new: bool
    metadata: Metadata


class Backend(Protocol):
    """A store, as the block of a write sees it."""

    def _begin_writing(self, write: Write) -> None:
        """Take up what a write needs."""

    def _end_writing(self, write: Write, *, keep: bool) -> None:
        """Keep what was written, or undo it as far as that can be done."""

    def _has_kept(self, write: Write) -> bool:
        """Return whether what was written is there, after an interrupt of `_end_writing`."""

    def _release_writing(self, write: Write) -> None:
        """Give up what an outermost write has taken up; may be done twice, and in another thread."""


class Effect:
    """What an operation has changed in a store, known also where an interrupt kept its backend from saying so.

    Args:
        store: the store.
        operation: the operation, not kept alive.

    Attributes:
        store: the store.
        operation: a weak reference to the operation, which ends the write in its turn if an interrupt has cut that off.
        write: the outermost block of a write that the operation has entered.
    """

    __slots__ = ("operation", "store", "write")

    def __init__(self, store: object, operation: object) -> None:
        """Begin with nothing."""
        self.store = store
        self.operation = weakref.ref(operation)
        self.write: Write | None = None


class _Here(threading.local):
    """The operation that the calling thread is in the middle of.

    Attributes:
        effect: what it has changed; kept here, and not the operation, so that one that an interrupt has cut off is not.
    """

    effect: Effect | None = None


here = _Here()


WAITING, BEGINNING, OPEN, KEEPING, UNDOING, DECIDED, OVER = range(7)
"""How far the block of a write has come."""


class Write(Lease):
    """What a backend writes in one block; made by `Writing`.

    Attributes:
        outer: the lease of the same thread and task that it is part of, a transaction or another write, or None.
        enclosing: the block of a write that it stands in, or None.
        change: what it changes, once that is known.
        is_kept: whether that took effect, once that is known.
        held: the events of changes made inside of it, by its source or a listener, which are true if it is kept.
        mark: whatever the backend wants to remember.
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
        """Make a block that waits for its turn."""
        super().__init__(holder)
        self.part_of = turn.mine
        self.enclosing: Write | None = None
        self.change: Change | None = None
        self.is_kept = False
        self.held: dict[int, BaseEvent] = {}
        self.mark: object = None
        self.phase = WAITING
        self.effect = here.effect
        self._backend = backend
        self._turn = turn
        self._is_there: Callable[[], bool] | None = None
        self._is_tried = False

    def expect(self, change: Change, is_there: Callable[[], bool] | None = None) -> None:
        """Say what the next step, or the end of the block, will have changed.

        Args:
            change: what it is.
            is_there: returns whether it is there already, where it can't be undone from then on. It is only asked after
                an interrupt or an error.
        """
        self._is_there = is_there
        self.change = change

    def begin(self) -> None:
        """Wait for the turn, unless it is the caller's, and have the backend take up what it needs."""
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
        """Keep what was written, or undo it because of `error`, and give the turn back.

        Called again after an interrupt, which is then the `error`, it goes on with what is left.
        """
        if self.phase == OPEN:
            lease = self.part_of
            if lease is None:
                lease, self.is_open = self, False
            if lease.innermost is not self:
                undo_cut_off(lease, self)
            self.phase = KEEPING if error is None else UNDOING
        if self.phase == KEEPING:
            self._keep(error)
        if self.phase in (BEGINNING, UNDOING):
            self._undo()
        if self.phase in (WAITING, DECIDED):
            self._leave()

    @property
    def store(self) -> str:
        """The name of the store."""
        return self._turn.store

    @property
    def is_over(self) -> bool:
        """Whether it is known what was kept, and the turn was given back."""
        return self.phase == OVER

    @property
    def is_left_to_its_operation(self) -> bool:
        """Whether the operation that it belongs to ends it, if nobody else does."""
        effect = self.effect
        return effect is not None and effect.write is self and effect.operation() is not None and self.is_thread_alive

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is left who could end it: neither its holder, nor the operation that it belongs to."""
        return not self.is_left_to_its_operation and super().is_abandoned

    def settle(self, turn: Turn) -> None:
        """Undo what nobody is left to end. Runs in a thread of its own."""
        if self.phase == OVER or self.process is not forks.current:
            return
        try:
            go_on(self.finish, cut_off())
        finally:
            turn.free(self)  # whatever its backend has raised

    @property
    def _lease(self) -> Lease:
        return self if self.part_of is None else self.part_of

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
            self._decide_by_what_is_there()
            raise
        self._decide_by_what_is_there()

    def _decide_by_what_is_there(self) -> None:
        self.is_kept = self._is_there_now()
        self.phase = DECIDED

    def _leave(self) -> None:
        lease, enclosing = self._lease, self.enclosing
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


def undo_cut_off(lease: Lease, write: Write | None = None) -> None:
    """Undo the blocks that an interrupt has cut off inside of `write`, or of the lease."""
    while isinstance(innermost := lease.innermost, Write) and innermost is not write:
        innermost.finish(cut_off())


class Writing:
    """A block in which nobody else writes to the store; it waits for others, unless it is inside of one already.

    Args:
        backend: the store.
        turn: the turn to write to it.
    """

    __slots__ = ("__weakref__", "_backend", "_turn", "_write")

    def __init__(self, backend: Backend, turn: Turn) -> None:
        """Make the block."""
        self._backend = backend
        self._turn = turn
        self._write: Write | None = None

    def __enter__(self) -> Write:
        """Begin."""
        self._write = write = Write(self, self._backend, self._turn)
        self.__class__ = OpenWriting
        try:
            write.begin()
        except BaseException as error:
            go_on(self._end, error)
            raise
        return write

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep what was written, or undo it where the block raised."""
        write = self._write
        if write is None:
            return
        if write.process is not forks.current:
            self._leave_in_child(write, error)
        else:
            go_on(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if self._write is not None:
            self._write.finish(error)
        self.__class__ = Writing

    def _leave_in_child(self, write: Write, error: BaseException | None) -> None:
        self._turn.leave_inherited(write)
        if error is None:
            raise ForkedStoreError(
                f"a write to store {self._turn.store!r}", write.process.pid, "write anew in the child"
            )


class OpenWriting(Writing):
    """A block that was not left: the last resort of one that an interrupt has cut off.

    An interrupt that arrives in a finalizer is lost. So only what was not left has one: what was left is of the base
    class.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Have undone what an interrupt has cut off."""
        write = self._write
        if write is None or write.phase == OVER or write.process is not forks.current:
            return
        if write.part_of is None and not write.is_left_to_its_operation:
            self._turn.settle(write)
