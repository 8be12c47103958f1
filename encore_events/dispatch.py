"""The dispatcher, which calls listeners: hooks, tracer, isolation, coroutines."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any

from encore_events.errors import NoRunningLoopError
from encore_events.events import BaseEvent
from encore_events.listeners import Listener
from encore_events.loggers import get_logger
from encore_events.owner import current_loop
from encore_events.pending import Call
from encore_events.plan import DispatchPlan, Report
from encore_events.recursion import dispatches, recurses
from encore_events.reporting import is_reporting, mark_task_as_reporting

Trace = Callable[[str, Callable[..., object], tuple[Any, ...]], object]

logger = get_logger("encore_events")


class Dispatcher:
    """Calls listeners one after the other, isolated from each other's exceptions.

    Args:
        report: called with (event, function, error) for each error.
        strict: raise an ExceptionGroup of the errors after all listeners have run.
    """

    def __init__(self, report: Report, *, strict: bool) -> None:
        self.trace: Trace | None = None
        self.strict = strict
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    @dispatches
    def vetoed(self, name: str, method: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Return whether the tracer vetoes calling `method` with `args`."""
        trace = self.trace
        if trace is None:
            return False
        try:
            return bool(trace(name, method, args))
        except Exception as error:
            if recurses(error):
                raise
            logger.exception("tracer %r failed at %r", trace, name)
            return False

    @dispatches
    def run(self, event: BaseEvent, plan: DispatchPlan, emit: Callable[..., object]) -> None:
        """Call the listeners that accept the event; the tracer is passed `emit` as the method."""
        errors: list[Exception] = []
        if not plan.enabled:
            self._call_all(event, plan, errors)
            return
        if self.vetoed("emit", emit, (event,)):
            return
        event.pre_emit()
        try:
            self._call_all(event, plan, errors)
        finally:
            event.post_emit()
        self._raise_if_strict(event, errors)

    @dispatches
    async def run_async(self, event: BaseEvent, plan: DispatchPlan, emit: Callable[..., object]) -> None:
        """Do the same, awaiting coroutine listeners in order."""
        errors: list[Exception] = []
        if not plan.enabled:
            self._call_all(event, plan, errors)
            return
        if self.vetoed("emit", emit, (event,)):
            return
        event.pre_emit()
        try:
            for listener, _scheduling_call in self._turns(event, plan, errors):
                try:
                    await _called(listener, event)
                except Exception as error:
                    if recurses(error):
                        raise
                    self._failed(errors, event, listener.func, error)
        finally:
            event.post_emit()
        self._raise_if_strict(event, errors)

    async def run_to_the_end(self, event: BaseEvent, plan: DispatchPlan, emit: Callable[..., object]) -> None:
        """Do the same, then await all coroutine listeners that were scheduled on this loop meanwhile."""
        await self.run_async(event, plan, emit)
        loop = asyncio.get_running_loop()
        while tasks := [task for task in list(self._tasks) if task.get_loop() is loop]:
            await asyncio.wait(tasks)

    def call_of(self, listener: Listener) -> Call:
        """Return what `run` calls: the listener, or a function that schedules a coroutine listener."""
        return functools.partial(self._schedule, listener) if listener.is_coroutine else listener.call

    def _call_all(self, event: BaseEvent, plan: DispatchPlan, errors: list[Exception]) -> None:
        for listener, call in self._turns(event, plan, errors):
            try:
                call(event)
            except Exception as error:
                if recurses(error):
                    raise
                self._failed(errors, event, listener.func, error)

    def _turns(self, event: BaseEvent, plan: DispatchPlan, errors: list[Exception]) -> Iterator[tuple[Listener, Call]]:
        for position in plan.matching(event, functools.partial(self._failed, errors)):
            if event.handled:
                return
            listener = plan.listeners[position]
            if self.trace is None or (
                (func := listener.func) is not None and not self.vetoed("listen", func, (event,))
            ):
                yield listener, plan.calls[position]

    def _schedule(self, listener: Listener, event: BaseEvent) -> None:
        loop, func = current_loop(), listener.func
        if func is None:
            return
        if loop is None:
            self._report(event, func, NoRunningLoopError(func))
            return
        task = loop.create_task(self._run_scheduled(listener, func, event, as_reporting=is_reporting()))
        self._tasks.add(task)  # the loop itself holds its tasks weakly
        task.add_done_callback(self._tasks.discard)

    @dispatches
    async def _run_scheduled(
        self, listener: Listener, func: Callable[..., Any], event: BaseEvent, *, as_reporting: bool
    ) -> None:
        if as_reporting:
            mark_task_as_reporting()
        try:
            await _called(listener, event)
        except Exception as error:
            if recurses(error):
                raise
            self._report(event, func, error)

    def _failed(self, errors: list[Exception], event: BaseEvent, func: object, error: Exception) -> None:
        errors.append(error)
        self._report(event, func, error)

    def _raise_if_strict(self, event: BaseEvent, errors: list[Exception]) -> None:
        if self.strict and errors:
            raise ExceptionGroup(f"listeners failed for {type(event).__name__}", errors)


async def _called(listener: Listener, event: BaseEvent) -> None:
    result = listener.call(event)
    if listener.is_coroutine and result is not None:
        await result  # type: ignore[misc]  # a coroutine function returns an awaitable
