"""A hold, which queues events until it is known whether they are true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from encore_events import forks
from encore_events.conditions import Condition, Filter, check_filter
from encore_events.delivery import forget
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent
from encore_events.owner import Owner, current_owner
from encore_events.plan import Report
from encore_events.worker import EmitHandle

__all__ = ["Hold"]


class _HeldEvent:
    """A queued event, the handle of an emit with `block=False`, and whether its release has begun."""

    __slots__ = ("event", "handle", "is_released")

    def __init__(self, event: BaseEvent, handle: EmitHandle | None) -> None:
        self.event = event
        self.handle = handle
        self.is_released = False


class Hold:
    """A queue for the matching events that one thread or task emits; a context manager, made by `EventManager.hold`.

    Leaving the block without `release()` discards the events.
    """

    def __init__(
        self,
        holds: dict[int, Hold],
        cls: type[BaseEvent],
        accepts: Callable[[BaseEvent], bool],
        *,
        deliver: Callable[[BaseEvent], object],
        emit: Callable[[BaseEvent, EmitHandle], object],
    ) -> None:
        """Make a hold, in `holds` while it lasts. `deliver` emits released events, `emit` those with a handle."""
        self.cls = cls
        self._holds = holds
        self._deliver = deliver
        self._emit = emit
        self._accepts = accepts
        self._owner: Owner | None = None
        self._process = forks.current
        self._queue: dict[object, _HeldEvent] = {}

    def __enter__(self) -> Self:
        self._owner, self._process = current_owner(), forks.current
        self._holds[id(self)] = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.discard()

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        """Return True, even if no event is queued."""
        return True

    def __repr__(self) -> str:
        return f"<Hold: {len(self)} of {self.cls.__name__}>"

    def release(self) -> None:
        """End the hold and emit the queued events in order. Filters and `disable` apply now.

        An interrupt is raised after the last listener of the event being emitted; the events after it are discarded.

        Raises:
            ExceptionGroup: the manager is strict and listeners failed; all events were emitted first.
            ForkedError: the hold was begun in this process's parent.
        """
        try:
            self.deliver()
        finally:
            self.discard()  # events are left only after an interrupt

    def deliver(self) -> None:
        """Do the same, but keep the events that an interrupt leaves; called again, resume there."""
        self._check_process()
        self._holds.pop(id(self), None)
        failures: list[Exception] = []
        for key, held in list(self._queue.items()):
            try:
                self._release(held)
            except ExceptionGroup as group:
                failures.extend(group.exceptions)
            self._queue.pop(key, None)
        if failures:
            raise ExceptionGroup("listeners failed for released events", failures)

    def discard(self) -> None:
        """End the hold and discard the queued events."""
        self._check_process()
        self._holds.pop(id(self), None)
        while self._queue:
            _, held = self._queue.popitem()
            if held.handle is not None:
                held.handle.finish()

    def is_of(self, owner: Owner) -> bool:
        """Return whether `owner` holds the events."""
        return owner == self._owner

    def add(self, event: BaseEvent) -> None:
        """Queue a matching event that another thread emits. Adding it twice queues it once."""
        if isinstance(event, self.cls) and self._accepts(event):
            self._queue[id(event)] = _HeldEvent(event, None)

    def take(self, event: BaseEvent, handle: EmitHandle | None, *, once: bool) -> bool:
        """Queue an event of `cls` if it is accepted; return whether it is. With `once`, queue it at most once."""
        if not self._accepts(event):
            return False
        self._queue[id(event) if once else object()] = _HeldEvent(event, handle)
        return True

    def _release(self, held: _HeldEvent) -> None:
        if held.handle is not None:
            self._emit(held.event, held.handle)
            return
        if not held.is_released:
            forget(held.event)  # the program may have emitted it before
            held.is_released = True
        self._deliver(held.event)

    def _check_process(self) -> None:
        if self._process is not forks.this_process():
            raise ForkedError(repr(self), self._process.pid, "hold the events in the child itself")


def queue_in_hold(
    holds: Mapping[int, Hold], event: BaseEvent, handle: EmitHandle | None, *, once: bool = False
) -> bool:
    """Queue the event in the innermost matching hold, and return whether there is one."""
    cls, owner = type(event), None
    for hold in reversed(list(holds.values())):
        if issubclass(cls, hold.cls):  # tested first: most events within a transaction are of other classes
            owner = owner or current_owner()
            if hold.is_of(owner) and hold.take(event, handle, once=once):
                return True
    return False


def is_held(holds: Mapping[int, Hold], cls: type[BaseEvent]) -> bool:
    """Return whether one of the holds may queue an event of `cls` that the caller emits."""
    covering = [hold for hold in list(holds.values()) if issubclass(cls, hold.cls)]
    if not covering:
        return False
    owner = current_owner()
    return any(hold.is_of(owner) for hold in covering)


def _hold(_: BaseEvent) -> None:
    """Never called: the listener that reports name when the filter of a hold fails."""


def hold_filter(filter: Filter | None, report: Report) -> Callable[[BaseEvent], bool]:  # noqa: A002
    """Return a predicate that applies `filter` as for a listener, and isolates it in the same way."""
    check_filter(_hold, filter)
    condition = Condition(filter, None)

    def accepts(event: BaseEvent) -> bool:
        try:
            return condition.accepts(event)
        except (MemoryError, RecursionError):
            raise  # no failure of the filter; and an event that may turn out untrue must not be emitted
        except Exception as error:  # noqa: BLE001 (filters are isolated as listeners are)
            report(event, _hold, error)
            return False

    return accepts
