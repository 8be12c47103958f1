"""The event manager, which connects listeners and emits events to them.

The registry of listeners is the `EventSignal` of each event class. Each event class that is emitted has a
`DispatchPlan` on top. Nothing here acquires a lock. Each step is one atomic operation of a dict, and the state is valid
after each. So a garbage collection, a fork or another thread may come between any two steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from encore_events import forks
from encore_events.conditions import Condition, Filter, Where
from encore_events.delivering import DeliveringEventManager
from encore_events.dispatch import Dispatcher, Trace
from encore_events.errors import ManagerClosedError, NotConnectedError
from encore_events.events import (
    BaseEvent,
    ListenerErrorEvent,
    before_marking,
    check_event,
    check_event_class,
    has_hooks,
)
from encore_events.forks import Process, this_process
from encore_events.hold import Hold, hold_filter, is_held, queue_in_hold
from encore_events.listeners import Listener, check_listener, identity_of, order
from encore_events.managers import announce
from encore_events.owner import current_loop
from encore_events.plan import DispatchPlan
from encore_events.recursion import dispatches, recurses
from encore_events.reporting import OnError, report_dropped
from encore_events.signals import EventSignal
from encore_events.stream import close_stream
from encore_events.subscription import EventInfo, Subscription
from encore_events.worker import EmitHandle, Worker

__all__ = ["EventManager"]

E = TypeVar("E", bound=BaseEvent)

_looks_at_events = False  # at whether they are handled: True from the first `mark_as_handled()` of the process on


class EventManager(DeliveringEventManager):
    """Dispatches events to the listeners of their class and its base classes, by priority.

    >>> manager = EventManager()
    >>> subscription = manager.connect(BaseEvent, lambda event: print("received", event.word))
    >>> manager.emit(BaseEvent(word="hello"))
    received hello
    >>> manager
    <EventManager: 1 listener>

    Args:
        on_error: called with (event, listener, error) for each error of a listener, filter or predicate.
        strict: raise an ExceptionGroup of these errors after all listeners have run.
    """

    def __init__(self, *, on_error: OnError | None = None, strict: bool = False) -> None:
        self._on_error = on_error
        self._dispatcher = Dispatcher(self._report_error, strict=strict)
        self._signals: dict[type[BaseEvent], EventSignal] = {}
        self._silenced: dict[object, type[BaseEvent]] = {}
        self._plans: dict[type, DispatchPlan] = {}
        self._holds: dict[int, Hold] = {}
        self._unheard: dict[object, Listener] = {}
        self._hiding: dict[object, None] = {}
        forks.renew_in_child(self, EventManager._renew)
        self._workers: dict[Process, Worker] = {}
        self._closed = False
        announce(self)

    def __repr__(self) -> str:
        count = len(self._listeners())
        return f"<EventManager: {count} listener{'' if count == 1 else 's'}{', closed' * self._closed}>"

    def connect(
        self,
        cls: type[E],
        func: Callable[[E], object],
        filter: Filter | None = None,  # noqa: A002 (the name is part of the API)
        priority: float = 0,
        *,
        where: Where | None = None,
        weak: bool | None = None,
    ) -> Subscription:
        """Call `func` with every event of `cls` and its subclasses.

        Connecting the same function to the same class again replaces the connection and moves it last.

        Args:
            cls: the event class.
            func: takes the event. `emit_async` awaits a coroutine function, `emit` schedules it.
            filter: required attribute values by dotted name; a missing attribute is no match.
            priority: higher priorities are called earlier, equal ones in the order of their connecting.
            where: a predicate of the event. Filters and predicates are evaluated before the first listener runs.
            weak: whether to hold `func` (of a method: its instance) weakly; None: methods only.

        Raises:
            InvalidListenerError: func, filter, where or priority is unusable (a TypeError).
            ManagerClosedError: the manager is closed.
        """
        signal = self.signal(cls)
        check_listener(func, filter, where, priority)
        condition = Condition(filter, where)
        listener = Listener(cls, func, condition, priority=priority, weak=weak, collected=signal.remove)
        if not self._admits("connect", self.connect, (cls, func, filter, priority)):
            return Subscription(listener, None)
        signal.add(listener)
        return Subscription(listener, self._end)

    def disconnect(self, cls: type[BaseEvent], func: Callable[..., object]) -> None:
        """Stop calling `func` with events of `cls`. Raises NotConnectedError, a KeyError, if it isn't connected."""
        if not self._admits("disconnect", self.disconnect, (cls, func)):
            return
        signal = self._signals.get(cls)
        listener = None if signal is None else signal.receivers.get(identity_of(func))
        if signal is None or listener is None:
            raise NotConnectedError(cls, func)
        signal.remove(listener)

    @dispatches
    def emit(self, event: BaseEvent, block: bool = True) -> EmitHandle | None:  # noqa: FBT001, FBT002 (the API)
        """Call the listeners of the event's class and its base classes.

        Args:
            event: the event; one that is marked as handled reaches no listener.
            block: False to call them in the manager's one worker thread, in the order of the emits.

        Returns:
            None; with `block=False` a handle with `join(timeout=None)` and `done()`.

        Raises:
            EventError: not an event.
            ExceptionGroup: the manager is strict and listeners failed.
        """
        if not block:
            check_event(event)
            return self._emit_later(event, EmitHandle())
        if self._holds and queue_in_hold(self._holds, event, None):
            return None
        try:
            plan = self._plans[type(event)]
        except KeyError:
            check_event(event)
            plan = self._compile(type(event))
        for call in plan.plain or plan.choose(event, plan):
            if _looks_at_events and event._handled:  # noqa: SLF001 (the property would cost as much as a listener)
                break
            try:
                call(event)
            except Exception as error:
                if recurses(error):
                    raise
                self._report_error(event, plan.func_of(call), error)
        return None

    async def emit_async(self, event: BaseEvent) -> None:
        """Call the listeners in order, as `emit` does, and await coroutine listeners."""
        check_event(event)
        if not queue_in_hold(self._holds, event, None):
            await self._dispatcher.run_async(event, self._plan(type(event)), self.emit_async)

    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Return whether it is worth building an event of `cls`: there is a listener, a hold or a tracer."""
        if self._holds and is_held(self._holds, cls):
            return True
        try:
            return self._plans[cls].has_listeners
        except KeyError:
            return self._compile(cls).has_listeners

    def hold(self, cls: type[BaseEvent], filter: Filter | None = None) -> Hold:  # noqa: A002 (the name in the API)
        """Return a context manager that queues the matching events of the calling thread or task.

        `release()` emits them in order. `discard()` or leaving the block discards them.
        """
        check_event_class(cls)
        accepts = hold_filter(filter, self._report_error)
        return Hold(self._holds, cls, accepts, deliver=self.deliver, emit=self._emit_later)

    def enable(self, cls: type[BaseEvent]) -> None:
        """Undo any number of `disable(cls)`, but not the effect of a `disabled(cls)` block."""
        self._changing(lambda: self._silenced.pop(cls, None))

    def disable(self, cls: type[BaseEvent]) -> None:
        """Dispatch no events of `cls` and its subclasses, until `enable(cls)`."""
        check_event_class(cls)
        self._changing(lambda: self._silenced.update({cls: cls}))

    def is_enabled(self, cls: type[BaseEvent]) -> bool:
        """Return whether events of `cls` are dispatched: neither `cls` nor a base class of it is disabled."""
        return not any(issubclass(cls, silenced) for silenced in list(self._silenced.values()))

    @contextlib.contextmanager
    def disabled(self, cls: type[BaseEvent]) -> Iterator[None]:
        """Dispatch no events of `cls` and its subclasses within the block. Blocks nest."""
        check_event_class(cls)
        block = object()
        try:
            self._changing(lambda: self._silenced.update({block: cls}))
            yield
        finally:
            self._changing(lambda: self._silenced.pop(block, None))

    def get_listeners(self, event_or_cls: BaseEvent | type[BaseEvent]) -> list[Callable[..., object]]:
        """Return the functions that an event would reach, in order. For a class, filters are ignored."""
        if isinstance(event_or_cls, type):
            listeners = self._ordered(event_or_cls)
        else:
            ordered = self._ordered(type(event_or_cls))
            plan = DispatchPlan(ordered, (), enabled=True, has_listeners=True, has_hooks=True, run=self._run)
            listeners = [ordered[position] for position in plan.matching(event_or_cls, self._report_error)]
        return [func for listener in listeners if (func := listener.func) is not None]

    def get_event_hierarchy(self, cls: type[BaseEvent]) -> tuple[type[BaseEvent], ...]:
        """Return the event classes whose listeners an event of `cls` reaches, from `cls` up to BaseEvent."""
        check_event_class(cls)
        return tuple(base for base in cls.__mro__ if issubclass(base, BaseEvent))

    def signal(self, cls: type[BaseEvent]) -> EventSignal:
        """Return the signal of `cls`, a blinker Signal that connects receivers in blinker's way."""
        signal = self._signals.get(cls)
        if signal is None:
            check_event_class(cls)
            signal = self._signals.setdefault(cls, EventSignal(cls, self._admits, self._changing))
        return signal

    def register(self, cls: type[BaseEvent]) -> None:
        """Make `cls` known to `get_event`. Connecting does so, too."""
        self.signal(cls)

    def get_event(self, cls: type[BaseEvent] | None = None) -> EventInfo | dict[type[BaseEvent], EventInfo]:
        """Return the information about `cls`, or about all known event classes, by class.

        A class is known once it was registered or connected to; others raise KeyError.
        """
        if cls is None:
            return {known: self._info(known) for known in list(self._signals)}
        if cls not in self._signals:
            raise KeyError(cls)
        return self._info(cls)

    def set_trace(self, func: Trace | None) -> None:
        """Call `func(name, method, args)` before everything that the manager does; None removes the tracer.

        `name` is 'connect', 'disconnect', 'emit' or 'listen'; `method` is about to be called with `args`. A true return
        value vetoes the call.
        """
        self._changing(functools.partial(setattr, self._dispatcher, "trace", func))

    def close(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds for queued events, then disconnect all listeners. Later emits do nothing."""
        worker = self._workers.get(this_process())
        if worker is not None:
            worker.close(timeout)
        for listener in self._listeners():
            close_stream(listener.func)  # while the listeners that count dropped events are still connected
        self._changing(self._refuse_connects)
        self._workers = {}
        self._unheard.clear()
        for listener in self._listeners():
            close_stream(listener.func)
            self._signals[listener.cls].remove(listener)

    def _refuse_connects(self) -> None:
        self._closed = True

    def _emit_later(self, event: BaseEvent, handle: EmitHandle) -> EmitHandle:
        """Emit an event in the worker, unless a hold takes it."""
        if queue_in_hold(self._holds, event, handle):
            return handle
        if self._closed:
            handle.finish()
            return handle
        while not self._worker(handle.adopt()).run(functools.partial(self._emit_on_worker, event, handle)):
            continue  # a signal handler has forked meanwhile: this is the child, with a worker of its own
        return handle

    def _emit_on_worker(self, event: BaseEvent, handle: EmitHandle) -> None:
        plan = self._plan(type(event))
        try:
            if plan.has_coroutines and current_loop() is None:
                asyncio.run(self._dispatcher.run_to_the_end(event, plan, self.emit))
            else:
                self._dispatcher.run(event, plan, self.emit)
        finally:
            handle.finish()

    def _worker(self, process: Process) -> Worker:
        """Return the process's worker; a forked child makes its own."""
        worker = self._workers.get(process)
        if worker is not None:
            return worker
        made = Worker(functools.partial(report_dropped, weakref.ref(self)))
        worker = self._workers.setdefault(process, made)
        if worker is made:
            weakref.finalize(self, made.stop).atexit = False
        else:
            made.stop()
        return worker

    def _admits(self, name: str, method: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Return whether no tracer vetoes the call. Raises ManagerClosedError for a connect to a closed manager."""
        if self._closed and name == "connect":
            raise ManagerClosedError(self)
        return not self._dispatcher.vetoed(name, method, args)

    def _end(self, listener: Listener) -> None:
        signal = self._signals[listener.cls]
        if signal.has(listener) and self._admits("disconnect", self.disconnect, (listener.cls, listener.func)):
            signal.remove(listener)

    def _listeners(self) -> list[Listener]:
        return [listener for signal in list(self._signals.values()) for listener in signal.receivers.values()]

    def _ordered(self, cls: type[BaseEvent]) -> list[Listener]:
        signals = [self._signals[base] for base in self.get_event_hierarchy(cls) if base in self._signals]
        return sorted((listener for signal in signals for listener in signal.listeners), key=order)

    def _run(self, event: BaseEvent, plan: DispatchPlan) -> tuple[()]:
        check_event(event)
        self._dispatcher.run(event, plan, self.emit)
        return ()

    def _compile(self, cls: type[BaseEvent]) -> DispatchPlan:
        plans = self._plans  # before anything else is read: a change from here on discards this dict
        check_event_class(cls)
        is_traced = self._dispatcher.trace is not None
        enabled = not self._closed and self.is_enabled(cls)
        listeners = self._ordered(cls) if enabled else self._unheard_of(cls)
        plan = DispatchPlan(
            listeners,
            [self._dispatcher.call_of(listener) for listener in listeners],
            enabled=enabled,
            has_listeners=enabled and (bool(listeners) or is_traced),
            has_hooks=enabled
            and (is_traced or self._dispatcher.strict or has_hooks(cls) or issubclass(cls, ListenerErrorEvent)),
            run=self._run,
        )
        plans[cls] = plan
        return plan

    def _info(self, cls: type[BaseEvent]) -> EventInfo:
        listeners = (listener.func for listener in self._ordered(cls) if listener.cls is cls)
        return EventInfo(cls, tuple(func for func in listeners if func is not None), self.is_enabled(cls))


def _look_at_events() -> None:
    global _looks_at_events  # noqa: PLW0603 (in an object, it would be slower to read)
    _looks_at_events = True


before_marking(_look_at_events)
