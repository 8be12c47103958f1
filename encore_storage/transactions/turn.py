"""The turn to write to a store: one thread, and in it one asyncio task, at a time.

Each writer has a lease in a queue, the keys of a dict. Entering and leaving the queue are single, repeatable steps, so
an interrupt between two steps leaves nothing half done. The first lease has the turn. The others check regularly
whether it was abandoned: its holder was collected, or its thread or task has ended.
"""

from __future__ import annotations

import math
import time
import weakref
from contextvars import ContextVar
from typing import Self

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.gates import ThreadGate
from encore_events.owner import current_owner, here
from encore_storage.errors import ForkedStoreError, TransactionTimeoutError

_POLL_INTERVAL = 0.05  # seconds between two checks of a waiting thread whether the first lease was abandoned
_RECLAIM_WAIT = 5.0  # seconds to wait, beyond any timeout, for an abandoned lease to end


class Lease:
    """A place in the queue of a turn. The `holder` ends it, and is not kept alive by it.

    Attributes:
        owner: the thread and task that asked for it.
        process: the process that it belongs to.
        is_open: whether further calls of its owner may join it.
        innermost: the innermost write in progress inside of it, or None.
        outer: the enclosing lease of the caller's task, according to `carried`.
    """

    __slots__ = ("__weakref__", "_holder", "_is_alive", "gate", "innermost", "is_open", "outer", "owner", "process")

    def __init__(self, holder: object) -> None:
        self.owner = current_owner()
        self.process = forks.current
        self.is_open = False
        self.innermost: object = None
        self.outer: Lease | None = None
        self.gate: ThreadGate | None = None
        self._is_alive = here.is_alive
        self._holder = weakref.ref(holder)

    @property
    def holder(self) -> object:
        """The object that ends it, or None if that was collected."""
        return self._holder()

    @property
    def is_abandoned(self) -> bool:
        """True if nothing can end it: its holder was collected, or its thread or task has ended."""
        task = self.owner.task
        return self._holder() is None or self._is_alive() is None or (task is not None and task.done())

    @property
    def is_kept_by_traceback(self) -> bool:
        """True if its holder was interrupted, and only exists because the traceback of the interrupt is kept."""
        return False

    @property
    def is_mine(self) -> bool:
        """True if it belongs to the calling thread and task, in this process."""
        return self.process is forks.current and self.owner == current_owner()

    def reclaim(self, turn: Turn) -> None:
        """End it after it was abandoned, and release the turn. Called in a background thread."""
        turn.free(self)


carried: ContextVar[Lease | None] = ContextVar("encore_storage_carried", default=None)
"""The lease of the transaction that a task is in. `asyncio.to_thread` and child tasks inherit it."""


class Turn:
    """A queue of leases, the first of which may write.

    Another thread waits. Another task of the same thread is refused at once: its waiting would block the loop that the
    owner needs.

    Args:
        store: the name of the store, for errors.
        timeout: the seconds that a thread waits; None for no limit.
        followed: an object whose `timeout`, as it is when a thread has to wait, is used instead.

    Attributes:
        queue: the leases, the first of which has the turn.
    """

    def __init__(self, store: str, timeout: float | None, followed: object = None) -> None:
        self.timeout = timeout
        self.store = store
        self.queue: dict[Lease, None] = {}
        self._inherited: Lease | None = None
        self._followed = None if followed is None else weakref.ref(followed)
        forks.renew_in_child(self, Turn._renew)

    def __repr__(self) -> str:
        return f"<Turn of {self.store!r}: {len(self.queue)} in the queue>"

    @property
    def first(self) -> Lease | None:
        """The lease that has the turn."""
        for lease in list(self.queue):
            return lease
        return None

    @property
    def mine(self) -> Lease | None:
        """The lease that has the turn, if it is open and belongs to the calling thread and task."""
        if not self.queue:
            return None
        first = self.first
        if first is None or not first.is_open or not first.is_mine:
            return None
        if first.holder is None and first.is_abandoned:  # its thread and task live: they are the caller
            return None
        if first.is_kept_by_traceback:
            first.reclaim(self)
            return None
        return first

    def take(self, lease: Lease) -> None:
        """Queue the lease; wait until it is first. Raises TransactionTimeoutError, or in a child ForkedStoreError."""
        if self._inherited is not None:
            self._check_inherited(self._inherited)
        self.queue[lease] = None
        if len(self.queue) > 1:
            self._wait(lease)

    def take_if_free(self, lease: Lease) -> bool:
        """Take the turn if it is free, and return whether it was."""
        self.queue[lease] = None
        if self.first is lease:
            return True
        self.free(lease)
        return False

    def free(self, lease: Lease) -> None:
        """Remove the lease from the queue; a second call does nothing."""
        self.queue.pop(lease, None)
        following = self.first if self.queue else None
        if following is not None and following.gate is not None:
            following.gate.open()

    def leave_inherited(self, lease: Lease) -> None:
        """Let the caller use the store again after it left the block that it inherited in the fork."""
        if self._inherited is lease:
            self._inherited = None

    def taken(self) -> HeldTurn:
        """Return a block that has the turn; it may be entered inside of a block that has it."""
        return HeldTurn(self)

    def _timeout(self) -> float | None:
        store = None if self._followed is None else self._followed()
        return self.timeout if store is None else getattr(store, "timeout", None)

    def _wait(self, lease: Lease) -> None:
        timeout = self._timeout()
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        reclaimed: Lease | None = None
        try:
            while (first := self.first) is not lease and first is not None:
                self._check_deadlock(lease)
                if first.is_abandoned and reclaimed is not first:
                    reclaimed = first
                    end = max(end, time.monotonic() + _RECLAIM_WAIT)
                    self.reclaim(first)
                left = end - time.monotonic()
                if left <= 0:
                    raise TransactionTimeoutError(self.store, f"it did not end within {timeout} s")  # noqa: TRY301
                lease.gate = gate = ThreadGate()
                if self.first is first:  # checked after the gate is set: either this or `free` sees the other's step
                    gate.wait(min(left, _POLL_INTERVAL))
        except BaseException:
            self.free(lease)
            raise

    def reclaim(self, lease: Lease) -> None:
        """Have another thread end an abandoned lease; it may be called any number of times."""
        run_in_background(lambda: lease.reclaim(self))

    def _check_deadlock(self, lease: Lease) -> None:
        inside = set(carried_leases())
        for other in list(self.queue):
            if other is lease:
                return
            if other.is_abandoned:
                continue
            if other in inside and other.owner.thread is not lease.owner.thread:
                reason = "the task that made this call in another thread is in it, and waits for this call"
            elif other.owner.thread is not lease.owner.thread:
                continue
            elif other.owner.task is lease.owner.task:
                reason = (
                    "this thread is in it: a signal handler or finalizer has interrupted it, "
                    "or its begin, commit or rollback writes by `_writing()`"
                )
            else:
                reason = "another task of this thread is in it, and waiting would block the event loop"
            raise TransactionTimeoutError(self.store, reason)

    def _check_inherited(self, inherited: Lease) -> None:
        if inherited.is_abandoned:
            self._inherited = None
        elif inherited.owner == current_owner():
            raise ForkedStoreError(
                f"the transaction or write in store {self.store!r}", inherited.process.pid, "leave its block first"
            )

    def _renew(self) -> None:
        """Drop the parent's leases in a forked child, except the one of a block that the caller is in."""
        first = self.first
        self.queue = {}
        self._inherited = first if first is not None and first.owner == current_owner() else None


class HeldTurn:
    """A block that has the turn, and releases it."""

    __slots__ = ("__weakref__", "_lease", "_turn")

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._lease: Lease | None = None

    def __enter__(self) -> Self:
        """Wait for the turn, unless the caller has it."""
        forks.this_process()  # before anything is made that belongs to it
        if self._turn.mine is None:
            self._lease = lease = Lease(self)
            self.__class__ = OpenHeldTurn  # type: ignore[assignment]  # the same object, with a finalizer
            self._turn.take(lease)
            lease.is_open = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Release the turn, if it was taken here."""
        if self._lease is not None:
            self._turn.free(self._lease)
        self.__class__ = HeldTurn


class OpenHeldTurn(HeldTurn):
    """A block that has not been left. Its finalizer is the last resort if an interrupt prevents `__exit__`.

    An interrupt in a finalizer is lost, so a block has one only until it is left: then its class is exchanged.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Release the turn that an interrupt left taken."""
        if self._lease is not None:
            self._turn.free(self._lease)


def carried_leases() -> list[Lease]:
    """Return the leases of the caller's task, or of the task that made this call in another thread."""
    lease, leases = carried.get(), list[Lease]()
    while lease is not None:
        leases.append(lease)
        lease = lease.outer
    return leases
