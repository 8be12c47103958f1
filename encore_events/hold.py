"""Holding events back until it is known whether they are true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from encore_events import forks
from encore_events.delivery import forget
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent
from encore_events.listeners import Filter, Listener
from encore_events.owner import Owner, current_owner
from encore_events.plan import Report
from encore_events.worker import EmitHandle

__all__ = ["Hold"]


class _Held:
    """An event that waits, the handle of its emit if that was in the background, and if its release has begun."""

    __slots__ = ("event", "handle", "is_released")

    def __init__(self, event: BaseEvent, handle: EmitHandle | None) -> None:
        self.event = event
        self.handle = handle
        self.is_released = False


class HoldingManager(Protocol):
    """What a hold asks of the event manager that made it."""

    def begin_hold(self, hold: Hold) -> None:
        """Ask `hold` about every event from now on."""

    def end_hold(self, hold: Hold) -> None:
        """Ask it no longer."""

    def emit_held(self, event: BaseEvent, handle: EmitHandle | None) -> None:
        """Emit an event in the background that is no longer held."""

    def deliver(self, event: BaseEvent) -> None:
        """Emit an event that is no longer held; called again, go on where an interrupt broke it off."""


class Hold:
    """The matching events of one thread or task, queued instead of dispatched; a context manager.

    Leaving the block without `release()` discards them. Made by `EventManager.hold`.
    """

    def __init__(self, manager: HoldingManager, cls: type[BaseEvent], accepts: Callable[[BaseEvent], bool]) -> None:
        """Make the hold; it begins when the block is entered."""
        self.cls = cls
        self._manager = manager
        self._accepts = accepts
        self._owner: Owner | None = None
        self._process = forks.current
        self._queue: dict[object, _Held] = {}

    def __enter__(self) -> Self:
        """Begin to hold what the calling thread or task emits."""
        self._owner, self._process = current_owner(), forks.current
        self._manager.begin_hold(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the hold; what wasn't released is discarded."""
        self.discard()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._queue)

    def __bool__(self) -> bool:
        """A hold is a hold, even with nothing in it."""
        return True

    def __repr__(self) -> str:
        """What is held, and how many wait."""
        return f"<Hold: {len(self)} of {self.cls.__name__}>"

    def release(self) -> None:
        """End the hold and emit what was held, in order. Filters and `disable` apply now.

        An interrupt reaches all listeners of the event that is being emitted; the events after it are discarded.

        Raises:
            ExceptionGroup: the manager is strict and listeners failed; all events were emitted first.
            ForkedError: the hold began in the process that this one was forked from.
        """
        try:
            self.deliver()
        finally:
            self.discard()  # nothing is left of it, unless an interrupt came

    def deliver(self) -> None:
        """Do as `release` does, but keep what an interrupt has left: called again, go on with that."""
        self._check_process()
        self._manager.end_hold(self)
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
        """End the hold and forget what was held."""
        self._check_process()
        self._manager.end_hold(self)
        while self._queue:
            _, held = self._queue.popitem()
            if held.handle is not None:
                held.handle.finish()

    def covers(self, cls: type[BaseEvent], owner: Owner) -> bool:
        """Whether an event of `cls`, emitted by `owner`, may be held here."""
        return issubclass(cls, self.cls) and owner == self._owner

    def add(self, event: BaseEvent) -> None:
        """Queue an event of the hold's that another thread emits; doing so twice changes nothing."""
        if isinstance(event, self.cls) and self._accepts(event):
            self._queue[id(event)] = _Held(event, None)

    def take(self, event: BaseEvent, owner: Owner, handle: EmitHandle | None, *, once: bool = False) -> bool:
        """Queue the event if it is one to hold, and return whether it was; `once`: it may be queued already."""
        if not self.covers(type(event), owner) or not self._accepts(event):
            return False
        self._queue[id(event) if once else object()] = _Held(event, handle)
        return True

    def _release(self, held: _Held) -> None:
        if held.handle is not None:
            self._manager.emit_held(held.event, held.handle)
            return
        if not held.is_released:
            forget(held.event)  # it may have been emitted before
            held.is_released = True
        self._manager.deliver(held.event)

    def _check_process(self) -> None:
        if self._process is not forks.this_process():
            raise ForkedError(repr(self), self._process.pid, "hold the events in the child itself")


def queue_in_hold(
    holds: Mapping[int, Hold], event: BaseEvent, handle: EmitHandle | None, *, once: bool = False
) -> bool:
    """Queue the event with the innermost hold that wants it, and return whether one did."""
    if not holds:
        return False
    owner = current_owner()
    return any(hold.take(event, owner, handle, once=once) for hold in reversed(list(holds.values())))


def is_held(holds: Mapping[int, Hold], cls: type[BaseEvent]) -> bool:
    """Whether one of the holds may queue an event of `cls` that the caller emits."""
    owner = current_owner()
    return any(hold.covers(cls, owner) for hold in list(holds.values()))


def _hold(_: BaseEvent) -> None:
    """What is named when the filter of a hold fails; it is never called."""


def hold_filter(cls: type[BaseEvent], filter: Filter | None, report: Report) -> Callable[[BaseEvent], bool]:  # noqa: A002
    """What decides whether an event is held: the same filter that a listener has, isolated in the same way."""
    listener = Listener(
        cls, _hold, filter=filter, where=None, priority=0, weak=False, sequence=0, collected=lambda _: None
    )

    def accepts(event: BaseEvent) -> bool:
        try:
            return listener.accepts(event)
        except (MemoryError, RecursionError):
            raise  # the filter has not failed, and what may turn out untrue is not emitted
        except Exception as error:  # noqa: BLE001 (filters are isolated as listeners are)
            report(event, listener, error)
            return False

    return accepts
