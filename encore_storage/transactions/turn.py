"""The turn to write to a store: one thread, and in it one asyncio task, at a time.

Whoever wants to write has a lease. The leases stand in a queue, the keys of a dict: to enter it, and to leave it, is
one step that may be repeated, so that an interrupt between any two steps leaves nothing half done. The first has the
turn. Those behind it look every now and then if it was abandoned: its holder was collected, its thread or task is gone.
"""

from __future__ import annotations

import math
import time
import weakref
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.gates import ThreadGate
from encore_events.owner import current_owner, here
from encore_storage.errors import ForkedStoreError, TransactionTimeoutError

_LOOK_AGAIN = 0.05
"""Seconds after which whoever waits looks again whether the first lease was abandoned."""

_GRACE = 5.0
"""Seconds that are allowed, beyond any timeout, for ending what was abandoned."""


class Lease:
    """A place in the queue of a turn.

    Args:
        holder: the object that has to end it, not kept alive by the lease.

    Attributes:
        owner: the thread and task that asked for it.
        process: the process that it belongs to.
        is_open: whether further calls of its owner may take part in what it is for.
        innermost: the block of a write inside of it that is under way, if there is one.
        outer: the lease that the caller's task was in before, as far as `carried` says.
    """

    __slots__ = ("__weakref__", "_holder", "_is_alive", "gate", "innermost", "is_open", "outer", "owner", "process")

    def __init__(self, holder: object) -> None:
        """Make a lease for the calling thread and task."""
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
        """The object that has to end it, or None if it was collected."""
        return self._holder()

    @property
    def is_thread_alive(self) -> bool:
        """Whether the thread has not ended that asked for it."""
        return self._is_alive() is not None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is left who could end it."""
        task = self.owner.task
        return self._holder() is None or self._is_alive() is None or (task is not None and task.done())

    @property
    def is_left_behind(self) -> bool:
        """Whether its holder only exists because somebody keeps the traceback of the interrupt that has cut it off."""
        return False

    @property
    def is_mine(self) -> bool:
        """Whether it belongs to the calling thread and task, in this process."""
        return self.process is forks.current and self.owner == current_owner()

    def settle(self, turn: Turn) -> None:
        """End what was abandoned, and give the turn to the next. Runs in a thread of its own."""
        turn.free(self)


carried: ContextVar[Lease | None] = ContextVar("encore_storage_carried", default=None)
"""The lease of the transaction that a task is in; `asyncio.to_thread` and the tasks that it starts inherit it."""


class Turn:
    """A queue of leases, the first of which may write.

    Another thread waits. Another task of the same thread is refused at once, since its waiting would block
    the loop that the owner needs.

    Args:
        store: the name of the store, for errors.
        timeout: how many seconds a thread waits; None for as long as it takes.

    Attributes:
        queue: the leases, the first of which has the turn.
    """

    def __init__(self, store: str, timeout: float | None) -> None:
        """Make a turn that is nobody's."""
        self.timeout = timeout
        self.store = store
        self.queue: dict[Lease, None] = {}
        self._inherited: Lease | None = None
        self._followed: weakref.ref[Any] | None = None
        forks.renew_in_child(self, Turn._renew)

    def __repr__(self) -> str:
        """Return the store's name and the length of the queue."""
        return f"<Turn of {self.store!r}: {len(self.queue)} in the queue>"

    @property
    def first(self) -> Lease | None:
        """The lease that has the turn."""
        for lease in list(self.queue):
            return lease
        return None

    @property
    def mine(self) -> Lease | None:
        """The lease that has the turn, if it is open, and the calling thread's and task's own."""
        if not self.queue:
            return None
        first = self.first
        if first is None or not first.is_open or not first.is_mine or first.is_abandoned:
            return None
        if first.is_left_behind:
            first.settle(self)
            return None
        return first

    def take(self, lease: Lease) -> None:
        """Queue the lease, and wait until it is the first.

        Raises:
            ForkedStoreError: the caller is still inside of what its process was forked in.
            TransactionTimeoutError: the turn did not become free in time, or waiting would be in vain.
        """
        self._check_inherited()
        self.queue[lease] = None
        if len(self.queue) > 1:
            self._wait(lease)

    def take_if_free(self, lease: Lease) -> bool:
        """Take the turn if nobody has it, and return whether that was so."""
        self.queue[lease] = None
        if self.first is lease:
            return True
        self.free(lease)
        return False

    def free(self, lease: Lease) -> None:
        """Take the lease out of the queue; doing so twice changes nothing."""
        self.queue.pop(lease, None)
        following = self.first
        if following is not None and following.gate is not None:
            following.gate.open()

    def leave_inherited(self, lease: Lease) -> None:
        """Let the caller use the store again, who has left what its process was forked in."""
        if self._inherited is lease:
            self._inherited = None

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread and task has the turn."""
        return self.mine is not None

    def taken(self) -> Taken:
        """Return a block that has the turn; it may be part of a block that has it already."""
        return Taken(self)

    def follow(self, store: Any) -> None:
        """Have the `timeout` of `store` count, as it is when somebody has to wait."""
        self._followed = weakref.ref(store)

    def _timeout(self) -> float | None:
        store = None if self._followed is None else self._followed()
        return self.timeout if store is None else getattr(store, "timeout", None)

    def _wait(self, lease: Lease) -> None:
        timeout = self._timeout()
        patience = math.inf if timeout is None else timeout
        end = time.monotonic() + patience
        settling: Lease | None = None
        try:
            while (first := self.first) is not lease and first is not None:
                self._refuse_to_wait_in_vain(lease)
                if first.is_abandoned and settling is not first:
                    settling = first
                    end = max(end, time.monotonic() + _GRACE)
                    self.settle(first)
                left = end - time.monotonic()
                if left <= 0:
                    raise TransactionTimeoutError(self.store, f"its end was awaited for {timeout} s")  # noqa: TRY301
                lease.gate = gate = ThreadGate()
                if self.first is first:  # looked at after the gate is there: one of the two sees the other
                    gate.wait(min(left, _LOOK_AGAIN))
        except BaseException:
            self.free(lease)
            raise

    def settle(self, lease: Lease) -> None:
        """Have an abandoned lease ended by another thread; it does not matter how many ask for it."""
        run_in_background(lambda: lease.settle(self))

    def _refuse_to_wait_in_vain(self, lease: Lease) -> None:
        inside = set(carried_leases())
        for other in list(self.queue):
            if other is lease:
                return
            if other.is_abandoned:
                continue
            if other in inside and other.owner.thread is not lease.owner.thread:
                reason = "the task that had this call made in another thread is in it, and waits for this call"
            elif other.owner.thread is not lease.owner.thread:
                continue
            elif other.owner.task is lease.owner.task:
                reason = "a call of this thread is under way, which a signal handler or a finalizer has interrupted"
            else:
                reason = "another task of this thread is in it, and waiting would block the event loop"
            raise TransactionTimeoutError(self.store, reason)

    def _check_inherited(self) -> None:
        inherited = self._inherited
        if inherited is None:
            return
        if inherited.is_abandoned:
            self._inherited = None
        elif inherited.owner == current_owner():
            raise ForkedStoreError(
                f"what was under way in store {self.store!r}", inherited.process.pid, "leave its block first"
            )

    def _renew(self) -> None:
        """Forget the leases of the process that this one was forked from, but for what the caller is inside of."""
        first = self.first
        self.queue = {}
        self._inherited = first if first is not None and first.owner == current_owner() else None


class Taken:
    """A block that has the turn, and gives it back however the block ends."""

    __slots__ = ("__weakref__", "_lease", "_turn")

    def __init__(self, turn: Turn) -> None:
        """Make the block; it waits for the turn when it is entered."""
        self._turn = turn
        self._lease: Lease | None = None

    def __enter__(self) -> Self:
        """Wait for the turn, unless it is the caller's already."""
        forks.this_process()  # before anything is made that belongs to it
        if self._turn.mine is None:
            self._lease = lease = Lease(self)
            self.__class__ = OpenTaken  # type: ignore[assignment]  # the same object, with a finalizer
            self._turn.take(lease)
            lease.is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the turn back, if it was taken here."""
        if self._lease is not None:
            self._turn.free(self._lease)
        self.__class__ = Taken


class OpenTaken(Taken):
    """A block that was not left: the last resort of one that an interrupt has cut off.

    An interrupt that arrives in a finalizer is lost. So only what was not left has one: what was left is of the base
    class.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Give the turn back that an interrupt has left taken."""
        if self._lease is not None:
            self._turn.free(self._lease)


def carried_leases() -> list[Lease]:
    """Return the leases that the caller's task is in, or the task that had this call made in another thread."""
    lease, leases = carried.get(), list[Lease]()
    while lease is not None:
        leases.append(lease)
        lease = lease.outer
    return leases
