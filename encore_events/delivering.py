"""The part of the event manager that delivers events in spite of interrupts."""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import repeat as _repeat
from operator import call as _call
from typing import TypeVar

from encore_events.abstract import BaseEventManager
from encore_events.conditions import Condition
from encore_events.delivery import resume, skip
from encore_events.events import BaseEvent
from encore_events.hold import Hold, queue_in_hold
from encore_events.listeners import Listener
from encore_events.pending import Call
from encore_events.plan import DispatchPlan
from encore_events.recursion import dispatches
from encore_events.reporting import OnError, report_listener_error

E = TypeVar("E", bound=BaseEvent)
T = TypeVar("T")


class DeliveringEventManager(BaseEventManager):
    """An event manager that delivers events by their plans; `EventManager` makes the plans."""

    _plans: dict[type, DispatchPlan]
    _holds: dict[int, Hold]
    _on_error: OnError | None
    _unheard: dict[object, Listener]
    _hiding: dict[object, None]

    @abstractmethod
    def _compile(self, cls: type[BaseEvent]) -> DispatchPlan: ...

    @property
    def reports_types_only(self) -> bool:
        """True within a block of `reporting_types_only`."""
        return bool(self._hiding)

    @contextlib.contextmanager
    def reporting_types_only(self) -> Iterator[None]:
        """Report no text of errors within the block, as the base class says."""
        block = object()
        self._hiding[block] = None
        try:
            yield
        finally:
            del self._hiding[block]

    def connect_unheard(self, cls: type[E], func: Callable[[E], object]) -> Callable[[], object]:
        """Call `func` with events whose class is disabled, as the base class says."""
        place = object()
        listener = Listener(cls, func, Condition(None, None), weak=False)
        self._changing(lambda: self._unheard.update({place: listener}))
        return functools.partial(self._disconnect_unheard, place)

    @dispatches
    def deliver(self, event: BaseEvent) -> None:
        """Emit `event` as the base class says. Raises as `emit` does."""
        attributes = event.__dict__
        if "_encore_pending" in attributes:
            if attributes["_encore_pending"] is not None:
                resume(event, self._report_call)
            return
        if self._holds and queue_in_hold(self._holds, event, None, once=True):
            return
        try:
            calls = self._plans[type(event)].plain
        except KeyError:
            calls = self._compile(type(event)).plain
        if not calls or event._handled:  # noqa: SLF001 (as in emit)
            self._deliver_to_some(event)
            return
        pending = attributes["_encore_pending"] = map(_call, calls, _repeat(event))
        try:
            for _ in pending:
                if event._handled:  # noqa: SLF001 (as in emit)
                    break  # type: ignore[unreachable]  # mypy takes it for unchanged
            attributes["_encore_pending"] = None
        except BaseException as error:  # noqa: BLE001 (`resume` isolates listeners and raises interrupts)
            resume(event, self._report_call, error)

    def _deliver_to_some(self, event: BaseEvent) -> None:
        plan = self._plan(type(event))
        if plan.has_hooks:  # only `emit` handles tracers, strict managers and events with hooks
            skip(event)
            self.emit(event)
        else:
            positions = () if event._handled else plan.matching(event, self._report_error)  # noqa: SLF001 (as in emit)
            calls = tuple(plan.calls[position] for position in positions)
            event.__dict__["_encore_pending"] = map(_call, calls, _repeat(event))
            resume(event, self._report_call)

    def _report_call(self, event: BaseEvent, call: Call, error: Exception) -> None:
        self._report_error(event, self._plan(type(event)).func_of(call), error)

    def _report_error(self, event: BaseEvent, func: object, error: Exception) -> None:
        report_listener_error(self, self._on_error, event, func, error)

    def _disconnect_unheard(self, place: object) -> None:
        self._changing(lambda: self._unheard.pop(place, None))

    def _changing(self, change: Callable[[], T]) -> T:
        """Make a change that plans depend on. Discard them after it, and before it, since an interrupt may follow."""
        self._plans = {}
        changed = change()
        self._plans = {}
        return changed

    def _unheard_of(self, cls: type[BaseEvent]) -> list[Listener]:
        return [listener for listener in list(self._unheard.values()) if issubclass(cls, listener.cls)]

    def _renew(self) -> None:
        """Forget the parent's holds, in a forked child."""
        self._holds.clear()

    def _plan(self, cls: type[BaseEvent]) -> DispatchPlan:
        return self._plans.get(cls) or self._compile(cls)
