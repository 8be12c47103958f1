"""One line of text for each event: time, store, operation, key, size, duration and outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from encore_storage.formatting import format_bytes, format_duration, printable

STORAGE = "encore.storage."
QUIET = (".started", ".progress")  # suffixes of those Encore types that are shown only on request
_MIN_WIDTHS = {"store": 8, "action": 12, "key": 24}  # in columns
_MAX_WIDTHS = {"store": 20, "action": 16, "key": 48}
_NUMBERS = 8
_PID_WIDTH = 7  # the largest id on Linux
_MAX_PID = 2**31
_LARGEST = 1e24  # bytes or seconds; larger numbers cannot be measurements

_STYLES = {
    **dict.fromkeys(("ok", "committed"), "green"),
    **dict.fromkeys(("miss", "cancelled"), "yellow"),
    **dict.fromkeys(("error", "rolled_back", "commit_failed", "rollback_failed"), "red"),
}
_ENDINGS = {"committed": "commit", "commit_failed": "commit", "closed": "close"}

Message = Mapping[str, Any]


class EventLines:
    """A formatter of CloudEvents whose columns grow with their content, up to a limit.

    Lines have a column for the process once events of two processes were formatted.

    Args:
        now: returns the local time; lines of other days include the date.
    """

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        self._now = now
        self._widths = dict(_MIN_WIDTHS)
        self._processes: set[int] = set()

    def line(self, event: Message) -> Text:
        """Format one CloudEvent."""
        type_, data = printable(str(event.get("type"))), event.get("data")
        known = data if isinstance(data, dict) else {}
        if type_.startswith(f"{STORAGE}operation."):
            line = self._operation(type_, known)
        elif type_.startswith(f"{STORAGE}transaction."):
            line = self._transaction(type_, known)
        elif type_.startswith(f"{STORAGE}key."):
            line = self._line(known, type_.removeprefix(STORAGE).replace(".", " "), _text(known, "key"))
        else:
            line = Text.assemble(type_, "  ", (_as_json(data), "dim"))
        process = self._process(event.get("process"))
        line = Text.assemble((self._time(event.get("time")), "dim"), "  ", (process, "dim"), line)
        line.rstrip()
        if is_quiet(type_):
            line.stylize("dim")
        return line

    def _operation(self, type_: str, data: Message) -> Text:
        has_bytes = data.get("direction") is not None
        count = data.get("bytes", data.get("step")) if has_bytes else None
        outcome = _text(data, "outcome") or type_.rpartition(".")[2]
        attempts = data.get("attempts")
        more = f"{attempts:,} attempts" if isinstance(attempts, int) and attempts > 1 else ""
        return self._line(data, _text(data, "operation"), _text(data, "key"), _bytes(count), outcome, more)

    def _transaction(self, type_: str, data: Message) -> Text:
        outcome = _text(data, "outcome")
        if not outcome:
            return self._line(data, "begin", _text(data, "notes"), "", type_.rpartition(".")[2])
        count = data.get("operations")
        operations = f"{count:,} operation{'s' * (count != 1)}" if isinstance(count, int) else ""
        return self._line(data, _ENDINGS.get(outcome, "rollback"), _text(data, "notes"), "", outcome, operations)

    def _line(self, data: Message, action: str, key: str, count: str = "", outcome: str = "", more: str = "") -> Text:
        error = _error(data)
        return Text.assemble(
            self._column("store", _text(data, "store")),
            (self._column("action", action), "bold"),
            self._column("key", key),
            f"{count:>{_NUMBERS}}  {_duration(data.get('duration')):>{_NUMBERS}}  ",
            (outcome, _STYLES.get(outcome, "")),
            f"  {more}" * bool(more),
            (f"  {error}" * bool(error), "red"),
        )

    def _column(self, name: str, text: str) -> str:
        width = cell_len(text)
        self._widths[name] = max(self._widths[name], min(width, _MAX_WIDTHS[name]))
        return text + " " * (max(self._widths[name] - width, 0) + 2)

    def _process(self, pid: Any) -> str:
        """Return the column of the process, or nothing as long as all events are of one process."""
        is_known = isinstance(pid, int) and 0 < pid < _MAX_PID
        if is_known and len(self._processes) <= 1:
            self._processes.add(pid)
        if len(self._processes) <= 1:
            return ""
        return f"{pid if is_known else '':>{_PID_WIDTH}}  "

    def _time(self, text: Any) -> str:
        try:
            moment = datetime.fromisoformat(text).astimezone()
        except (TypeError, ValueError, OverflowError, OSError):  # the platform may not support the year
            return "--:--:--.---"
        is_today = moment.date() == self._now().date()
        return moment.isoformat(" ", "milliseconds")[11 * is_today : 23]


def is_quiet(type: str) -> bool:  # noqa: A002 (the name in CloudEvents)
    """Return whether events of the type are hidden by default; a later event reports how it ended.

    >>> is_quiet("encore.storage.operation.started"), is_quiet("encore.storage.operation.ended")
    (True, False)
    """
    return type.startswith("encore.") and type.endswith(QUIET)


def _text(data: Message, name: str) -> str:
    value = data.get(name)
    return "" if value is None else printable(value if isinstance(value, str) else _as_json(value))


def _bytes(count: Any) -> str:
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < _LARGEST:
        return ""
    return format_bytes(count)


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not 0 <= seconds < _LARGEST:
        return ""
    return format_duration(seconds)


def _error(data: Message) -> str:
    error = data.get("error")
    if not isinstance(error, dict):
        return _text(data, "error")
    return ": ".join(filter(None, (_text(error, "type"), _text(error, "message"))))


def _as_json(value: Any) -> str:
    try:
        return printable(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return "..."
