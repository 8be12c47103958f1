"""The progress of one operation in bytes: all are counted, few step events are emitted."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

from encore_events import forks
from encore_events.delivery import has_reached_any
from encore_events.errors import ProgressError
from encore_events.progress import ExitState, ProgressManager
from encore_events.text import message_of
from encore_storage.errors import ForkedStoreError
from encore_storage.events import (
    Outcome,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.observing.finalizing import Finalized, make_finalized
from encore_storage.observing.interrupts import end_interrupted, retry
from encore_storage.observing.measures import Measure
from encore_storage.observing.outcomes import (
    EXIT_STATES,
    OUTCOMES,
    check_exit_state,
    error_type_for,
    is_cancellation,
    is_missing_key,
)
from encore_storage.observing.transaction import transaction_of

_ALWAYS = -math.inf  # the due time of an operation that is not in progress, so that `step` is called and raises


class StoreProgressManager(ProgressManager):
    """The progress of one operation in bytes; a sync and async context manager that always emits the end.

    Every `progress(step=total)` is counted. A step event is emitted at most once in `min_interval` seconds, and
    never for the last of the expected bytes, which the end event reports. The deltas of an operation always sum
    to its `bytes`.

    The exception of the block decides the outcome: a KeyNotFoundError or KeyError for this key is 'miss', any other
    Exception 'error', and KeyboardInterrupt, GeneratorExit or asyncio.CancelledError 'cancelled'. An operation that
    is collected before it has ended is 'cancelled' as well; another thread emits its end.

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
        operation_id: the id of the operation; by default, a unique one.
        message: a description for people.
        steps: the number of bytes expected, -1 for unknown. An attribute: set it when it becomes known.
        kwargs: more attributes for every event; those that subscribers rely on are store, operation,
            direction, key, metadata and transaction_id.

    Attributes:
        items: the number of keys, rows or values returned or changed; None if not counted. The end event has this and
            the following attributes, too.
        attempts: the number of attempts, 1 if nothing was retried.
        first_byte: seconds from the start to the first byte; None if not measured.
        fetched: the number of bytes fetched from the backend, also those that only the client's own cache received;
            None if not counted apart from `bytes`.
    """

    StartEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressStartEvent
    StepEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressStepEvent
    EndEventType: ClassVar[type[StoreProgressEvent]] = StoreProgressEndEvent

    min_interval: ClassVar[float] = 0.1
    """The least number of seconds between two step events; 0 emits every step."""

    clock: ClassVar[Callable[[], float]] = time.monotonic
    """The clock that measures seconds: a function without arguments."""

    items = Measure[int | None](None)
    attempts = Measure[int](1)
    first_byte = Measure[float | None](None)
    fetched = Measure[int | None](None)
    measures: dict[str, Any] | None = None
    """The attributes above that were set, by name."""

    ends_ok_if_collected = False
    """True if the operation, collected before it has ended, is ok instead of cancelled."""

    is_over = False
    """True if the operation has ended, or this process will never end it."""

    _closed_class: ClassVar[type[StoreProgressManager]]
    _open_class: ClassVar[type[StoreProgressManager]]
    _reported = 0
    _start_event: StoreProgressEvent | None = None
    _end_events: tuple[StoreProgressEvent, ...] | None = None
    _last_message: str | None = None
    _due = _ALWAYS
    _now: Callable[[], float] = time.monotonic
    process: forks.Process
    _items: object = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Make the variant of the class that has a finalizer."""
        super().__init_subclass__(**kwargs)
        if not issubclass(cls, Finalized):
            make_finalized(cls)

    @property
    def bytes(self) -> int:
        """The number of bytes counted so far."""
        return self._done

    def start(self) -> None:
        """Emit that the operation starts. Raises ProgressError if it has started before."""
        if self._started or self._ended:
            raise ProgressError("start", self.message)
        cls = self._open_class
        if self.__class__ is not cls:
            self.__class__ = cls
        identity = self._identity = self._identify()
        identity["timestamp"] = time.time()
        clock = self._now = cls.clock  # read from the class: through the instance, a function would be a bound method
        self._right_to_end = iter((True,))  # `next` gives it to one thread
        self.process = forks.this_process()
        now = self._started_at = clock()
        self._due = now + cls.min_interval
        manager, kind, event = self.event_manager, cls.StartEventType, None
        if manager.has_listeners(kind):
            event = self._start_event = kind.made_of(identity.copy())
            self._is_heard = True
        self._started = True  # after that: from now on, an interrupt leaves an operation that ends
        if event is None:
            return
        try:
            manager.deliver(event)
        except BaseException as error:  # from a strict event manager, or an interrupt
            self.finish(error)
            raise

    def step(self, message: str | None = None, step: int | None = None) -> None:
        """Count `step` bytes in all; emit a step event if one is due. Raises ProgressError if it is not in progress."""
        if not self._started:
            raise ProgressError("step", self.message)
        if step is not None and step > self._done:
            self._done = step
        if message is not None:
            self._last_message = message
        if self._now() >= self._due:
            self._emit_step()

    def count(self, more: int) -> None:
        """Count `more` bytes, and emit a step event if one is due; several threads may count in one operation.

        Raises:
            ProgressError: the operation has not started, or has ended.
            TypeError: `more` is not an int.
            ValueError: `more` is negative.
        """
        if type(more) is not int:
            raise TypeError(f"count() takes a number of bytes, an int, not {more!r}")
        if more < 0:
            raise ValueError(f"count() takes a number of bytes of at least 0, not {more!r}")
        if not self._started:
            raise ProgressError("count", self.message)
        with self._counting():
            self._done += more
        if self._now() >= self._due:
            self._emit_step()

    def count_to(self, total: int) -> None:
        """Count `total` bytes in all without a step event; a later step or the end reports them."""
        if total > self._done:  # noqa: PLR1730 (as in `__call__`)
            self._done = total

    def end(
        self, message: str | None = None, exit_state: ExitState = "normal", *, error: BaseException | None = None
    ) -> None:
        """Emit that the operation has ended.

        Args:
            message: a description for people; by default, the message of the operation.
            exit_state: 'normal' (outcome ok), 'warning' (miss), 'error' or 'exception' (cancelled).
            error: the exception that ended the operation; it overrides the exit state.

        Raises:
            ProgressError: the operation has not started, or has ended.
            ValueError: the exit state is unknown.
        """
        check_exit_state(exit_state)
        if not self._started or not next(self._right_to_end, False):
            raise ProgressError("end", self.message)
        self._finish(message, exit_state, error)

    def finish(self, error: BaseException | None = None) -> None:
        """End the operation, unless it has ended, with the outcome that `error` stands for.

        If several threads call it, the first decides the outcome. Called again after an interrupt, it resumes.

        Raises:
            ForkedStoreError: the operation began in the process that this one was forked from.
        """
        if not self._started:
            self.is_over = True
            return
        try:
            if self._end_events is not None or next(self._right_to_end, False):  # else another thread is ending it
                self._finish(None, "normal", error)
        except BaseException:
            self.resume_finish(error)
            raise

    def adopt(self, items: object) -> None:
        """Have `items`, an iterator or file, closed if the operation is collected before it has ended."""
        self._items = items
        if self.__class__ is not self._open_class:  # a silent operation
            self.__class__ = self._open_class

    def close_and_finish(self, close: Callable[[], object]) -> None:
        """Call `close`, and end the operation with its outcome."""
        try:
            close()
        except BaseException as error:
            self.finish_unless_forked(error)
            raise
        self.finish_unless_forked()

    def finish_unless_forked(self, error: BaseException | None = None) -> None:
        """End the operation as `finish` does; in a forked child, leave the end to the parent."""
        if error is not None and self.process is forks.current and not self.is_over:
            end_interrupted(error)
        self.end_interrupted(error)

    def end_interrupted(self, error: BaseException | None) -> None:
        """End the operation if an interrupt kept it from ending, but not what that interrupted in other blocks."""
        if self.is_over:
            return
        if self.process is forks.current:
            self.finish(error)
        self.is_over = True
        if self.__class__ is not self._closed_class:  # in a forked child
            self.__class__ = self._closed_class

    def __call__(self, message: str | int | None = None, step: int | None = None) -> None:
        """Count, and emit if due: `progress(n)`, `progress(step=n)` and `progress('message', n)` mean n in all."""
        if message is not None or step is None:
            self._call(message, step)
            return
        # Every chunk that moves pays for these lines.
        if step > self._done:  # noqa: PLR1730 (a call of max would double their cost)
            self._done = step
        now = self._now
        if now() >= self._due:
            self._call(None, step)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End the operation, unless it has ended, with the outcome of the block's exception."""
        if error is not None:
            end_interrupted(error)
        self.finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.__exit__(kind, error, traceback)

    def forked_error(self, what: str) -> ForkedStoreError:
        """Return the error for using `what` of this operation in a forked child."""
        message = getattr(self, "message", "")
        return ForkedStoreError(f"{what} {message!r}", self.process.pid, "begin another in the child")

    def resume_finish(self, error: BaseException | None) -> None:
        """Resume an end that an interrupt stopped or prevented."""
        retry(lambda _: self._finish_if_started(error), error, 2)

    def _finish_if_started(self, error: BaseException | None) -> None:
        if self._started and self.process is forks.current:
            self._finish(None, "normal", error)

    def _finish(self, message: str | None, exit_state: ExitState, error: BaseException | None) -> None:
        ends = self._end_events
        if ends is None:
            if self.process is not forks.this_process():
                self._leave_in_child(error)
                return
            ends = self._end_events = self._make_end(message, exit_state, error)
        start, deliver = self._start_event, self.event_manager.deliver
        if start is not None and start.__dict__.get("_encore_pending", start) is not None:
            self._finish_start(start)
        elif ends:
            deliver(ends[0])
        self._started, self._ended, self._due = False, True, _ALWAYS
        self.is_over = True
        self.__class__ = self._closed_class
        self._end_events = ()  # the frames of its error refer to this operation: break the cycle

    def _finish_start(self, start: StoreProgressEvent) -> None:
        """Emit the end of a start that an interrupt stopped: none, or both events to the listeners that missed them."""
        if has_reached_any(start):
            for event in (start, *(self._end_events or ())):
                self.event_manager.deliver(event)

    def _leave_in_child(self, error: BaseException | None) -> None:
        self._started, self._ended, self._due = False, True, _ALWAYS
        self.is_over = True
        self.__class__ = self._closed_class
        if error is None:
            raise self.forked_error("the operation")

    def _make_end(
        self, message: str | None, exit_state: ExitState, error: BaseException | None
    ) -> tuple[StoreProgressEvent, ...]:
        if not (self._is_heard or self.event_manager.has_listeners(self.EndEventType)):
            return ()
        outcome = OUTCOMES[exit_state] if error is None else self._outcome_of(error)
        if error is not None and message is None:
            message = message_of(error)
        attributes = self._identity.copy()
        attributes["message"] = self.message if message is None else message
        attributes["steps"] = self.steps
        attributes["exit_state"] = exit_state if error is None else EXIT_STATES[outcome]
        attributes["outcome"] = outcome
        attributes["bytes"] = self._done
        attributes["delta"] = self._done - self._reported
        attributes["duration"] = self._now() - self._started_at
        attributes["error"] = error
        attributes["error_type"] = None if outcome == "ok" else error_type_for(outcome, error)
        if self.measures is not None:
            attributes |= self.measures
        return (self.EndEventType.made_of(attributes),)

    def _call(self, message: str | int | None, step: int | None) -> None:
        super().__call__(message, step)

    def _counting(self) -> threading.RLock:
        """Return the lock of counts, made when `count` is first used: stores count in one thread."""
        attributes = self.__dict__
        lock: threading.RLock = attributes.get("_lock") or attributes.setdefault("_lock", threading.RLock())
        return lock

    def _emit_step(self) -> None:
        if self.process is not forks.this_process():
            raise self.forked_error("the operation")
        self._due = self._now() + self.min_interval
        is_complete = self._done == self.steps
        if is_complete or not self.event_manager.has_listeners(self.StepEventType):
            return
        with self._counting():
            done = self._done
            delta, self._reported = done - self._reported, done
        message = self.message if self._last_message is None else self._last_message
        attributes = self._identity | {"message": message, "steps": self.steps}
        attributes |= {"step": done, "delta": delta}
        self._is_heard = True
        self.event_manager.emit(self.StepEventType.made_of(attributes))

    def _identify(self) -> dict[str, Any]:
        """Return the attributes that all events of the operation share."""
        transaction = transaction_of(self.source)
        if transaction is not None:
            transaction.operations += 1
            self.kwargs.setdefault("transaction_id", transaction.transaction_id)
        own = {"source": self.source, "operation_id": self.operation_id, "message": self.message, "steps": self.steps}
        return own | self.kwargs

    def _outcome_of(self, error: BaseException) -> Outcome:
        if is_cancellation(error):
            return "cancelled"
        return "miss" if self._is_miss(error) else "error"

    def _is_miss(self, error: BaseException) -> bool:
        return is_missing_key(error, **{name: self.kwargs[name] for name in ("key", "store") if name in self.kwargs})


make_finalized(StoreProgressManager)
