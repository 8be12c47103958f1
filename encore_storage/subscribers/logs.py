"""Log lines from events through structlog, and a logger that writes to a file or a stream."""

from __future__ import annotations

import functools
import inspect
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent
from encore_events.printing import printable, traceback_of
from encore_events.text import message_of, repr_of
from encore_storage.errors import error_type_of
from encore_storage.events import (
    Action,
    Outcome,
    StoreKeyEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    TransactionOutcome,
)
from encore_storage.redaction import Redaction, checked_keys, system_message
from encore_storage.subscribers.base import Listeners, Subscriber
from encore_storage.subscribers.console import escape_texts, traceback_text
from encore_storage.subscribers.errors import StillFailingError
from encore_storage.subscribers.odd_values import number_of, shown
from encore_storage.subscribers.volume import NUMBERS, Level, Volume, checked_level

# structlog imports rich, a fifth of the time that Encore took to import, and many programs log nothing.
if TYPE_CHECKING:
    from encore_storage.subscribers.outputs import FileOutput, StreamOutput

Format = Literal["json", "console"]
Listener = Callable[[Any], None]

_OUTCOME_LEVELS: dict[Outcome, Level] = {"miss": "debug", "cancelled": "warning", "error": "error"}
_TRANSACTION_LEVELS: dict[TransactionOutcome, Level] = {
    "committed": "info",
    "rolled_back": "warning",
    "closed": "debug",
    "commit_failed": "error",
    "rollback_failed": "error",
}
_OF_UNKNOWN_OUTCOME: Level = "warning"
_ACTION_NAMES: dict[Action, str] = {
    "set": "store.key.set",
    "update": "store.key.updated",
    "delete": "store.key.deleted",
}


class _Writing(threading.local):
    """A flag of the calling thread, on while it writes a line."""

    is_on = False


class LogSubscriber(Subscriber):
    """Logs a line for each operation and transaction that ended; at debug, also starts, progress and changed keys.

    `slow` and `sample` reduce the lines of operations and transactions without a failure: those with the outcome ok,
    miss, committed or closed. Errors, cancellations and rollbacks are always logged, as far as `level` allows.

    Values and metadata are never logged. Text of events and errors is escaped: it is one line without terminal codes,
    and a line of a traceback never looks like a line of the log. The field `error` has the message of an error. A line
    at level error also has `exception`, the traceback as text, without local variables; never `exc_info`. If keys are
    redacted or omitted, `error` has only the type, and there are no tracebacks and no notes, since all of these may
    quote a key.

    What a thread does while it writes a line isn't logged, so lines may be kept in an observed store.

    Args:
        logger: a structlog logger; by default, `structlog.get_logger()` at the time of `connect`.
        level: the lowest level that is logged. The logger may have a higher one.
        ok_level: the level of operations with the outcome ok.
        keys: True to log keys, False to omit them, or a function that returns the replacement of a key.
        slow: the seconds from which on an operation without a failure is always logged. Without `sample`, shorter ones
            are not logged.
        sample: the share of the other operations without a failure that is logged: 0.01 logs the 1st, the 101st, the
            201st of each operation and outcome. None stands for all of them without `slow`, and for none with it.

    Raises:
        TypeError: `logger` is not a structlog logger, or `keys`, `slow` or `sample` is none of these.
        ValueError: there is no such level, `slow` is negative, or `sample` is not a share from 0 to 1.
    """

    def __init__(
        self,
        *,
        logger: Any = None,
        level: Level = "info",
        ok_level: Level = "info",
        keys: bool | Redaction = True,
        slow: float | None = None,
        sample: float | None = None,
    ) -> None:
        super().__init__()
        if logger is not None and not hasattr(logger, "bind"):
            raise TypeError(f"logger {logger!r} is not a structlog logger: pass structlog.wrap_logger(...) of it")
        self._lowest = checked_level(level)
        checked_level(ok_level, "ok_level")
        self._given = logger
        self._logger = logger
        self._levels: dict[Outcome, Level] = {**_OUTCOME_LEVELS, "ok": ok_level}
        self._keys = checked_keys(keys)
        self._volume = Volume(slow, sample)
        self._writing = _Writing()

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        import structlog  # noqa: PLC0415 (see above)

        from encore_storage.subscribers.outputs import bound, non_blocking  # noqa: PLC0415

        if self._keys is not True:
            connection.enter_context(event_manager.reporting_types_only())
        self._logger = structlog.get_logger("encore_storage") if self._given is None else self._given
        self._bound = bound
        self._non_blocking = non_blocking

    def _listeners(self) -> Listeners:
        listeners: dict[type[BaseEvent], Listener] = {
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionEndEvent: self._transaction_ended,
        }
        if self._lowest <= NUMBERS["debug"]:
            listeners[StoreProgressStartEvent] = self._operation_started
            listeners[StoreProgressStepEvent] = self._operation_moved
            listeners[StoreModificationEvent] = self._key_changed
        return {cls: self._unless_writing(listener) for cls, listener in listeners.items()}

    def _unless_writing(self, listener: Listener) -> Listener:
        """Return a listener that ignores the events that its own thread emits while it writes a line."""
        writing = self._writing

        @functools.wraps(listener)
        def listen(event: BaseEvent) -> None:
            if writing.is_on:
                return
            try:
                writing.is_on = True  # within the `try`: an interrupt must not leave it on
                listener(event)
            except StillFailingError:
                return  # reported already, for the line before
            finally:
                writing.is_on = False

        return listen

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            log("store.operation.started", **_known(**self._operation_fields(event), bytes_expected=_expected(event)))

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            moved = number_of(event.step)
            fields = _known(**self._operation_fields(event), bytes=moved, bytes_expected=_expected(event))
            log("store.operation.progress", **fields)

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        outcome = shown(event.outcome)
        level = self._levels.get(cast("Outcome", outcome), _OF_UNKNOWN_OUTCOME)
        if NUMBERS[level] < self._lowest:
            return
        moved, duration = number_of(event.bytes), number_of(event.duration)
        if not self._volume.has(event.operation, outcome, duration):
            return
        log = self._log_at(level)
        if log is None:
            return
        fields = {
            **self._operation_fields(event),
            "bytes": moved,
            "duration": duration,
            "bytes_per_second": moved / duration if moved and duration else None,
            **_measures(event),
            "outcome": outcome,
            "error_type": shown(event.error_type),
            "error": None,
            **self._error_fields(event.error, with_traceback=outcome == "error"),
        }
        log("store.operation.ended", **fields)

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        outcome, duration = shown(event.outcome), number_of(event.duration)
        if not self._volume.has(None, outcome, duration):
            return
        level = _TRANSACTION_LEVELS.get(cast("TransactionOutcome", outcome), _OF_UNKNOWN_OUTCOME)
        log = self._log_at(level)
        if log is None:
            return
        fields = _known(
            store=shown(event.store),
            transaction_id=shown(event.transaction_id),
            parent_id=shown(event.parent_id),
            notes=shown(event.notes) if self._keys is True else None,
            operations=number_of(event.operations),
            held=number_of(event.held),
            duration=duration,
            outcome=outcome,
            error_type=error_type_of(event.error) if isinstance(event.error, Exception) else None,
            **self._error_fields(event.error, with_traceback=level == "error"),
        )
        log(f"store.transaction.{outcome if outcome in _TRANSACTION_LEVELS else 'ended'}", **fields)

    def _key_changed(self, event: StoreModificationEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            ids = {"store": shown(event.store), "transaction_id": shown(event.transaction_id)}
            log(_ACTION_NAMES[event.action], **_known(**ids, key=self._key(event)))

    def _log_at(self, level: Level) -> Callable[..., object] | None:
        """Return the logger's method for `level`, or None if the level is disabled."""
        if NUMBERS[level] < self._lowest:
            return None
        logger = self._non_blocking(self._bound(self._logger))
        if not _is_enabled(logger, NUMBERS[level]):
            return None
        log: Callable[..., object] = getattr(logger, level)
        if not _is_synchronous(logger.__class__, level) and inspect.iscoroutinefunction(log):
            raise TypeError(f"logger {logger!r} is asynchronous: pass one whose methods log without being awaited")
        return log

    def _operation_fields(self, event: StoreProgressEvent) -> dict[str, Any]:
        return {
            "store": shown(event.store),
            "operation": shown(event.operation),
            **({} if self._keys is False else {"key": self._key(event)}),
            "operation_id": shown(event.operation_id),
            "transaction_id": shown(event.transaction_id),
        }

    def _key(self, event: StoreKeyEvent) -> object:
        if event.key is None or self._keys is False:
            return None
        return shown(event.key if self._keys is True else self._keys(event.key))

    def _error_fields(self, error: BaseException | None, *, with_traceback: bool) -> dict[str, Any]:
        if error is None:
            return {}
        if self._keys is not True:
            return {"error": _without_message(error)}
        fields = {"error": printable(message_of(error))}
        if with_traceback and isinstance(error, BaseException):  # a pickled event may have a text instead
            # Not as exc_info, which some renderers show with local variables: values and metadata.
            fields["exception"] = traceback_of(error)
        return fields


@contextmanager
def open_logger(
    target: str | os.PathLike[str] | TextIO,
    *,
    format: Format = "json",  # noqa: A002 (the usual name)
    level: Level = "info",
) -> Iterator[Any]:
    """Yield a structlog logger that writes to a file or a stream, without configuring structlog.

    Each line is written at once, in one piece, and has the time in UTC. A JSON line includes its exception, without
    local variables. Forked children and signal handlers may use the logger.

    Args:
        target: the path of a file to append to, or a stream.
        format: 'json' or 'console'.
        level: the lowest level that is written.

    Raises:
        ValueError: there is no such level.
        OSError: the file can't be opened; or, at the end of the block, a line could not be written.
    """
    from encore_storage.subscribers.outputs import FileOutput, StreamOutput  # noqa: PLC0415 (see above)

    checked_level(level)
    if not isinstance(target, (str, os.PathLike)):
        yield _logger_to(StreamOutput(target), format, level)
        return
    with closing(FileOutput(Path(target))) as output:
        yield _logger_to(output, format, level)
    output.check()


def _logger_to(output: FileOutput | StreamOutput, format: Format, level: Level) -> Any:  # noqa: A002 (as in open_logger)
    import structlog  # noqa: PLC0415 (see above)

    return structlog.wrap_logger(
        output,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(format, colors=output.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(NUMBERS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )


@functools.lru_cache(maxsize=100)
def _is_synchronous(kind: type, level: Level) -> bool:
    """Return whether the class of a logger has a method for `level` that need not be awaited."""
    method = getattr(kind, level, None)
    return method is not None and not inspect.iscoroutinefunction(method)


def _is_enabled(logger: Any, level: int) -> bool:
    kind = type(logger)
    if hasattr(kind, "isEnabledFor"):  # it asks the wrapped logger, which needn't be one of the standard library
        return not hasattr(getattr(logger, "_logger", None), "isEnabledFor") or bool(logger.isEnabledFor(level))
    return not hasattr(kind, "is_enabled_for") or bool(logger.is_enabled_for(level))


def _renderers(format: Format, *, colors: bool) -> list[Any]:  # noqa: A002 (as in open_logger)
    import structlog  # noqa: PLC0415 (see above)
    from structlog.tracebacks import ExceptionDictTransformer  # noqa: PLC0415

    if format == "console":
        return [
            structlog.processors.ExceptionRenderer(traceback_text),
            escape_texts,
            structlog.dev.ConsoleRenderer(
                colors=colors, repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    without_locals = ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(without_locals), structlog.processors.JSONRenderer(_to_json)]


def _to_json(line: object, *, default: Callable[[Any], Any]) -> str:
    return _encoder_of(default).encode(line)


@functools.lru_cache(maxsize=10)
def _encoder_of(default: Callable[[Any], Any]) -> json.JSONEncoder:
    """Return the encoder that `json.dumps` would make for each line."""

    def encode(value: object) -> object:
        try:
            return default(value)
        except Exception:  # noqa: BLE001 (a program's own `__repr__`)
            return repr_of(value)

    return json.JSONEncoder(default=encode)


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _measures(event: StoreProgressEndEvent) -> dict[str, Any]:
    attempts, first_byte, items, fetched = number_of(event.attempts), event.first_byte, event.items, event.fetched
    if attempts == 1 and first_byte is items is fetched is None:  # as in most events
        return {}
    return _known(
        attempts=attempts if attempts is not None and attempts > 1 else None,
        first_byte=number_of(first_byte),
        items=number_of(items),
        fetched=number_of(fetched),
    )


def _expected(event: StoreProgressStartEvent | StoreProgressStepEvent) -> int | None:
    steps = number_of(event.steps)
    return None if steps is None else int(steps)


def _without_message(error: BaseException) -> str:
    """Return the type of the error and the system's message for its `errno`, neither of which quotes a key."""
    message = system_message(error)
    name = printable(type(error).__name__)
    return name if message is None else f"{name}: {message}"
