"""Log lines from events, for structlog, and a logger that writes them to a file or a terminal."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from encore_events.abstract import BaseEventManager
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
from encore_storage.redaction import Redaction, checked_keys, system_words
from encore_storage.subscribers.base import Listeners, Subscriber
from encore_storage.subscribers.outputs import FileOutput, StreamOutput, never_waiting

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

_NUMBERS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_OUTCOME_LEVELS: dict[Outcome, Level] = {"miss": "debug", "cancelled": "warning", "error": "error"}
_TRANSACTION_LEVELS: dict[TransactionOutcome, Level] = {
    "committed": "info",
    "rolled_back": "warning",
    "commit_failed": "error",
    "rollback_failed": "error",
}
_ACTION_NAMES: dict[Action, str] = {
    "set": "store.key.set",
    "update": "store.key.updated",
    "delete": "store.key.deleted",
}


class LogSubscriber(Subscriber):
    """Writes one line for each operation that ended, and for each transaction; more of them at debug.

    Values and metadata are never logged. Where keys are redacted or switched off, nothing else tells them
    either: an error is told by its type and without its traceback, since its words may quote a key.
    Otherwise an error comes along as `exc_info`; how much of it is shown is up to the program's structlog.

    Args:
        logger: a structlog logger; by default, the one that structlog gives when this is connected.
        ok_level: the level of an operation that ended well.
        keys: True to log keys as they are, False to leave them out, or a function of a key that gives what
            is logged in its place.

    Raises:
        TypeError: the logger isn't one of structlog, or keys can't redact any.
        ValueError: there is no such level.
    """

    def __init__(self, *, logger: Any = None, ok_level: Level = "info", keys: bool | Redaction = True) -> None:
        """Make a subscriber that is not connected."""
        super().__init__()
        if logger is not None and not hasattr(logger, "bind"):
            raise TypeError(f"{logger!r} is not a structlog logger: pass structlog.wrap_logger(...) of it")
        _check_level(ok_level)
        self._given = logger
        self._logger = logger
        self._levels: dict[Outcome, Level] = {**_OUTCOME_LEVELS, "ok": ok_level}
        self._keys = checked_keys(keys)

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:  # noqa: ARG002 (as in the base)
        self._logger = structlog.get_logger("encore_storage") if self._given is None else self._given

    def _listeners(self) -> Listeners:
        return {
            StoreProgressStartEvent: self._operation_started,
            StoreProgressStepEvent: self._operation_moved,
            StoreProgressEndEvent: self._operation_ended,
            StoreTransactionEndEvent: self._transaction_ended,
            StoreModificationEvent: self._key_changed,
        }

    def _operation_started(self, event: StoreProgressStartEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            log("store.operation.started", **_told(**self._operation_fields(event)), **_expected(event))

    def _operation_moved(self, event: StoreProgressStepEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            fields = _told(**self._operation_fields(event), bytes=event.step)
            log("store.operation.progress", **fields, **_expected(event))

    def _operation_ended(self, event: StoreProgressEndEvent) -> None:
        log = self._log_at(self._levels[event.outcome])
        if log is None:
            return
        fields = {
            **self._operation_fields(event),
            "bytes": event.bytes,
            "duration": event.duration,
            "bytes_per_second": event.bytes / event.duration if event.bytes and event.duration else None,
            "outcome": event.outcome,
            "error_type": event.error_type,
            "error": None,
            **self._error_fields(event.error, with_traceback=event.outcome == "error"),
        }
        log("store.operation.ended", **fields)

    def _transaction_ended(self, event: StoreTransactionEndEvent) -> None:
        level = _TRANSACTION_LEVELS[event.outcome]
        log = self._log_at(level)
        if log is None:
            return
        fields = _told(
            store=event.store,
            transaction_id=event.transaction_id,
            notes=event.notes if self._keys is True else None,
            operations=event.operations,
            held=event.held,
            duration=event.duration,
            outcome=event.outcome,
            error_type=error_type_of(event.error) if isinstance(event.error, Exception) else None,
            **self._error_fields(event.error, with_traceback=level == "error"),
        )
        log(f"store.transaction.{event.outcome}", **fields)

    def _key_changed(self, event: StoreModificationEvent) -> None:
        log = self._log_at("debug")
        if log is not None:
            fields = _told(store=event.store, key=self._key(event), transaction_id=event.transaction_id)
            log(_ACTION_NAMES[event.action], **fields)

    def _log_at(self, level: Level) -> Callable[..., object] | None:
        """What logs a line at the level, or None where it would be thrown away."""
        logger = never_waiting(self._logger.bind())  # of structlog's lazy proxy, the logger as it is configured by now
        kind = type(logger)
        is_enabled = getattr(kind, "is_enabled_for", None) or getattr(kind, "isEnabledFor", None)
        if is_enabled is not None and not is_enabled(logger, _NUMBERS[level]):
            return None
        log: Callable[..., object] = getattr(logger, level)
        return log

    def _operation_fields(self, event: StoreProgressEvent) -> dict[str, Any]:
        return {
            "store": event.store,
            "operation": event.operation,
            **({} if self._keys is False else {"key": self._key(event)}),
            "operation_id": event.operation_id,
            "transaction_id": event.transaction_id,
        }

    def _key(self, event: StoreKeyEvent) -> str | None:
        if event.key is None or self._keys is False:
            return None
        return event.key if self._keys is True else self._keys(event.key)

    def _error_fields(self, error: BaseException | None, *, with_traceback: bool) -> dict[str, Any]:
        if error is None:
            return {}
        if self._keys is not True:
            return {"error": _without_words(error)}
        told = {"error": str(error) or type(error).__name__}
        if with_traceback:
            # As text and not as exc_info, which some renderers show with local variables: values and metadata.
            told["exception"] = "".join(traceback.format_exception(error)).rstrip()
        return told


@contextmanager
def open_logger(
    target: str | os.PathLike[str] | TextIO,
    *,
    format: Format = "json",  # noqa: A002 (what it is called elsewhere)
    level: Level = "info",
) -> Iterator[Any]:
    """A structlog logger that writes to a file or a stream, and nothing that is configured for the program.

    Each line is written whole, at once, and with the time in UTC. In JSON an exception is part of its line,
    and never brings local variables along. A forked child may go on with the logger, and a signal handler may use it.

    Args:
        target: a path, to which lines are added and which is closed at the end of the block; or a stream.
        format: 'json' or 'console'.
        level: what is below it is not written.

    Raises:
        ValueError: there is no such level.
        OSError: the file can't be opened; or, at the end of the block, it has not got every line.
    """
    _check_level(level)
    if not isinstance(target, (str, os.PathLike)):
        yield _logger_to(StreamOutput(target), format, level)
        return
    with closing(FileOutput(Path(target))) as output:
        yield _logger_to(output, format, level)
    output.check()


def _logger_to(output: FileOutput | StreamOutput, format: Format, level: Level) -> Any:  # noqa: A002 (as in open_logger)
    return structlog.wrap_logger(
        output,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(format, colors=output.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )


def _check_level(level: Level) -> None:
    if level not in _NUMBERS:
        raise ValueError(f"a level is one of {', '.join(_NUMBERS)}, not {level!r}")


def _renderers(format: Format, *, colors: bool) -> list[Any]:  # noqa: A002 (as in open_logger)
    if format == "console":
        # Strings are shown as Python writes them, so that a key with a newline or an escape in it stays on its line.
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors, repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    without_locals = ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(without_locals), structlog.processors.JSONRenderer()]


def _told(**fields: Any) -> dict[str, Any]:
    """The fields that are known."""
    return {name: value for name, value in fields.items() if value is not None}


def _expected(event: StoreProgressStartEvent | StoreProgressStepEvent) -> dict[str, int]:
    return {"bytes_expected": event.steps} if event.steps >= 0 else {}


def _without_words(error: BaseException) -> str:
    """The type of the error, and what the system says of its number; nothing that could quote a key."""
    words = system_words(error)
    return type(error).__name__ if words is None else f"{type(error).__name__}: {words}"
