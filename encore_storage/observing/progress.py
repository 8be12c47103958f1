"""Progress that can't lie: exact in what it counts, seldom in what it tells."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.delivery import has_reached_any
from encore_events.errors import ProgressError
from encore_events.progress import ExitState, ProgressManager
from encore_storage.errors import ErrorType, ForkedStoreError, KeyNotFoundError, cut_off, error_type_of
from encore_storage.events import (
    Outcome,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.transactions.contexts import TransactionState

_EXIT_STATES: dict[Outcome, ExitState] = {
    "ok": "normal",
    "miss": "warning",
    "error": "error",
    "cancelled": "exception",
}
_OUTCOMES: dict[ExitState, Outcome] = {
    "normal": "ok",
    "warning": "miss",
    "error": "error",
    "exception": "cancelled",
}


_ALWAYS = -math.inf  # when a step is due outside of start and end: `step` has something to say of it


class StoreProgress(ProgressManager):
    """The progress of one operation of a store, in bytes: what `StoreProgressManager` does, but for its last resort."""

    StartEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressStartEvent
    StepEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressStepEvent
    EndEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressEndEvent

    min_interval: ClassVar[float] = 0.1
    """Seconds between two step events; 0 tells every step."""

    clock: ClassVar[Callable[[], float]] = time.monotonic
    """What seconds are measured by: a function without arguments."""

    _told = 0
    _counts_as: ClassVar[type[StoreProgress] | None] = (
        None  # whose `min_interval` and `clock` count; None: its own class's
    )
    _end_events: tuple[StoreProgressEvent, ...] | None = None
    _due = _ALWAYS
    _began: float | None = None  # by the clock, of what was at work before it could be told
    _now: Callable[[], float] = time.monotonic

    @property
    def bytes(self) -> int:
        """How many bytes have been counted."""
        return self._done

    @property
    def is_under_way(self) -> bool:
        """Whether it has started, and its end was not emitted."""
        return self._started

    def start(self) -> None:
        """Emit that the operation starts.

        Raises:
            ProgressError: it has started before.
        """
        if self._started or self._ended:
            raise ProgressError("start", self.message)
        identity = self._identity = self._identify()
        identity["timestamp"] = time.time()
        self._last_message = self.message
        settings = self._counts_as or type(self)
        clock = self._now = settings.clock  # looked up on the class, so a plain function does not become a method
        self._ends = iter((True,))
        self._process = forks.current
        now = clock()
        self._due = now + (self if self._counts_as is None else settings).min_interval
        self._started_at = now if self._began is None else self._began
        manager, kind, event = self.event_manager, self.StartEventType, None
        if manager.has_listeners(kind):
            event = kind.made_of(identity.copy())
        self._start_event = event
        self._started = True
        if event is None:
            return
        try:
            manager.deliver(event)
        except BaseException as error:  # of a strict event manager, or an interrupt
            self.finish(error)
            raise

    def step(self, message: str | None = None, step: int | None = None) -> None:
        """Count `step` bytes in all, and tell that and the message if it is due.

        Raises:
            ProgressError: outside of `start()` and `end()`.
        """
        if not self._started:
            raise ProgressError("step", self.message)
        if step is not None and step > self._done:
            self._done = step
        if message is not None:
            self._last_message = message
        if self._now() >= self._due:
            self._tell_step()

    def count(self, total: int) -> None:
        """Count `total` bytes in all, and leave the telling to a later step or to the end."""
        self._done = max(self._done, total)

    def end(
        self, message: str | None = None, exit_state: ExitState = "normal", *, error: BaseException | None = None
    ) -> None:
        """Tell that the operation is over.

        Args:
            message: for people; by default, the message of the operation.
            exit_state: 'normal', 'warning', 'error' or 'exception'; an `error` decides it.
            error: what the operation raised.

        Raises:
            ProgressError: outside of `start()` and `end()`.
            ValueError: the exit state is none of those.
        """
        if exit_state not in _OUTCOMES:
            raise ValueError(f"exit_state must be one of {', '.join(map(repr, _OUTCOMES))}, not {exit_state!r}")
        if not self._started or not next(self._ends, False):
            raise ProgressError("end", self.message)
        self._finish(message, exit_state, error)

    def finish(self, error: BaseException | None = None) -> None:
        """End, if that hasn't been done, with the outcome that `error` stands for.

        It may be called by several threads, of which the first decides the outcome. Called again after an interrupt, it
        goes on with what is left.

        Raises:
            ForkedStoreError: the operation began in the process that this one was forked from.
        """
        if not self._started:
            return
        try:
            if self._end_events is not None or next(self._ends, False):  # else another thread is at it
                self._finish(None, "normal", error)
        except BaseException:
            self.finish_cut_off(error)
            raise

    def __call__(self, message: str | int | None = None, step: int | None = None) -> None:
        """Count, and tell if due: `progress(n)`, `progress(step=n)` and `progress('message', n)` mean n in all."""
        if message is not None or step is None:
            self._call(message, step)
            return
        # Every chunk that moves pays for each of these lines.
        if step > self._done:  # noqa: PLR1730 (a call to max would cost as much as all the rest)
            self._done = step
        now = self._now
        if now() >= self._due:
            self._call(None, step)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End, if that hasn't been done, with the outcome that the block's exception stands for."""
        self.finish(error)

    def finish_cut_off(self, error: BaseException | None, attempts: int = 2) -> None:
        """Go on with an end that an interrupt has broken off, or kept from being begun."""
        try:
            if self._started and self._process is forks.current:
                self._finish(None, "normal", error)
        except BaseException:
            if attempts > 1:
                self.finish_cut_off(error, attempts - 1)
            raise

    def _finish(self, message: str | None, exit_state: ExitState, error: BaseException | None) -> None:
        ends = self._end_events
        if ends is None:
            if self._process is not forks.this_process():
                self._leave_in_child(error)
                return
            ends = self._end_events = self._make_end(message, exit_state, error)
        start, deliver = self._start_event, self.event_manager.deliver
        if start is not None and start.__dict__.get("_pending", start) is not None:
            self._finish_start(start)
        elif ends:
            deliver(ends[0])
        self._started, self._ended, self._due = False, True, _ALWAYS
        self._end_events = ()  # an error's frames hold this progress

    def _finish_start(self, start: StoreProgressEvent) -> None:
        """Emit the end of a start that an interrupt broke off: to nobody, or after the start to those who missed it."""
        if has_reached_any(start):
            for event in (start, *(self._end_events or ())):
                self.event_manager.deliver(event)

    def _leave_in_child(self, error: BaseException | None) -> None:
        self._started, self._ended, self._due = False, True, _ALWAYS
        if error is None:
            raise ForkedStoreError(f"the operation {self.message!r}", self._process.pid, "begin another in the child")

    def _make_end(
        self, message: str | None, exit_state: ExitState, error: BaseException | None
    ) -> tuple[StoreProgressEvent, ...]:
        """Make the event of the end, if somebody listens."""
        if not self.event_manager.has_listeners(self.EndEventType):
            return ()
        outcome = _OUTCOMES[exit_state] if error is None else self._outcome_of(error)
        if error is not None and message is None:
            message = str(error) or type(error).__name__
        attributes = self._identity.copy()
        attributes["message"] = self.message if message is None else message
        attributes["steps"] = self.steps
        attributes["exit_state"] = exit_state if error is None else _EXIT_STATES[outcome]
        attributes["outcome"] = outcome
        attributes["bytes"] = self._done
        attributes["delta"] = self._done - self._told
        attributes["duration"] = self._now() - self._started_at
        attributes["error"] = error
        attributes["error_type"] = _error_type(outcome, error)
        return (self.EndEventType.made_of(attributes),)

    def _call(self, message: str | int | None, step: int | None) -> None:
        super().__call__(message, step)

    def _tell_step(self) -> None:
        if self._process is not forks.this_process():
            raise ForkedStoreError(f"the operation {self.message!r}", self._process.pid, "begin another in the child")
        self._due = self._now() + (self._counts_as or self).min_interval
        is_complete = self._done == self.steps
        if is_complete or not self.event_manager.has_listeners(self.StepEventType):
            return
        delta, self._told = self._done - self._told, self._done
        attributes = self._identity | {"message": self._last_message, "steps": self.steps}
        attributes |= {"step": self._done, "delta": delta}
        self.event_manager.emit(self.StepEventType.made_of(attributes))

    def _identify(self) -> dict[str, Any]:
        """What is the same in all events of the operation, or nearly so."""
        transaction = TransactionState.joined_by(self.source)
        if transaction is not None and "transaction_id" not in self.kwargs:
            self.kwargs["transaction_id"] = transaction.transaction_id
        own = {"source": self.source, "operation_id": self.operation_id, "message": self.message, "steps": self.steps}
        return own | self.kwargs

    def _outcome_of(self, error: BaseException) -> Outcome:
        if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
            return "cancelled"
        return "miss" if isinstance(error, KeyError) and self._is_about(error) else "error"

    def _is_about(self, error: KeyError) -> bool:
        """Whether the key that is missing is this operation's own, and not one that its source looked for."""
        told = self.kwargs
        if isinstance(error, KeyNotFoundError):
            return (error.key, error.store) == (told.get("key", error.key), told.get("store", error.store))
        return "key" in told and error.args == (told["key"],)


class StoreProgressManager(StoreProgress):
    """Tells the progress of one operation of a store, in bytes; a context manager that never forgets the end.

    Every `progress(step=total)` is counted. A step event is told at most each `min_interval` seconds from
    the start on, and never for the last of the bytes that are expected: that is told by the end alone. What no
    step has told is the `delta` of the end, so the deltas of an operation always sum up to its `bytes`.

    The block's exception decides the outcome: KeyNotFoundError for this key is 'miss', any other Exception
    'error', and KeyboardInterrupt, GeneratorExit or asyncio.CancelledError 'cancelled'.

    >>> from encore_events import EventManager
    >>> manager = EventManager()
    >>> _ = manager.connect(StoreProgressEndEvent, lambda event: print(event.outcome, event.bytes))
    >>> with StoreProgressManager(manager, message="copying", steps=10) as progress:
    ...     progress(step=4)
    ...     progress(step=10)
    ok 10

    Args:
        event_manager: where to emit; by default, `get_event_manager()`.
        source: the store; by default, the progress manager.
        operation_id: identifies the operation; by default, something unique.
        message: what is being done, for people.
        steps: how many bytes are expected, -1 for unknown. An attribute: set it when it becomes known.
        kwargs: more attributes for every event; those that observers rely on are store, operation,
            direction, key, metadata and transaction_id.
    """

    def __del__(self) -> None:
        """Have the end emitted by another thread, where an interrupt kept it from being."""
        if self._started and self._process is forks.current:
            run_in_background(lambda: self.finish_cut_off(cut_off()))


def _error_type(outcome: Outcome, error: BaseException | None) -> ErrorType | None:
    if error is None:
        return "other" if outcome == "error" else None
    return None if outcome == "cancelled" else error_type_of(error)
