"""One line of text for each event: time, store, operation, key, size, duration and outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from encore_events.printing import printable
from encore_storage.cli.shortening import ShortNames, shortened
from encore_storage.formatting import format_bytes, format_duration

STORAGE = "encore.storage."
QUIET = (".started", ".progress")  # suffixes of those Encore types that are shown only on request
_MIN_WIDTHS = {"store": 8, "action": 9, "key": 12}  # in columns; with them, most lines fit 80 columns
_MAX_WIDTHS = {"store": 20, "action": 16, "key": 48}
_BYTES_WIDTH, _DURATION_WIDTH, _OUTCOME_WIDTH = 8, 7, 9  # longer outcomes shorten the key
_RIGHT = 2 + _BYTES_WIDTH + 2 + _DURATION_WIDTH + 2 + _OUTCOME_WIDTH  # columns from the key on
_NARROW = 100  # columns of a terminal, below which times have no milliseconds, nor dates a year
_MIN_KEY = 4
_INDENT = "    "  # of what continues a line
_PID_WIDTH = 7  # the largest id on Linux
_MAX_PID = 2**31
_LARGEST = 1e24  # bytes or seconds; larger numbers cannot be measurements
_WORD = re.compile(r"\w")

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
        console: the terminal whose width the lines fit. Stores and keys are shortened for it, different stores to
            different texts. What does not fit after the outcome continues on indented lines. None shortens nothing.
    """

    def __init__(self, now: Callable[[], datetime] = datetime.now, *, console: Console | None = None) -> None:
        self._now = now
        self._console = console
        self._widths = dict(_MIN_WIDTHS)
        self._widest_key = _MIN_KEY
        self._stores = ShortNames()
        self._processes: set[int] = set()

    def line(self, event: Message) -> Text:
        """Format one CloudEvent."""
        width = None if self._console is None else self._console.width
        start = f"{self._time(event.get('time'), width)}  {self._process(event.get('process'))}"
        room = None if width is None else width - len(start)
        type_, data = printable(str(event.get("type"))), event.get("data")
        known = data if isinstance(data, dict) else {}
        if type_.startswith(f"{STORAGE}operation."):
            line, rest = self._operation(type_, known, room)
        elif type_.startswith(f"{STORAGE}transaction."):
            line, rest = self._transaction(type_, known, room)
        elif type_.startswith(f"{STORAGE}key."):
            line, rest = self._line(known, type_.removeprefix(STORAGE).replace(".", " "), _text(known, "key"), room)
        else:
            line, rest = Text(type_ if room is None else shortened(type_, max(room, 1))), Text(_as_json(data), "dim")
        line = Text.assemble((start, "dim"), line)
        line.rstrip()
        if width is not None:
            line.truncate(width, overflow="ellipsis")  # a terminal too narrow for the columns
        line = self._joined(line, rest, width)
        if is_quiet(type_):
            line.stylize("dim")
        return line

    def _joined(self, line: Text, rest: Text, width: int | None) -> Text:
        """Return the line with the rest after it, or below it if it is too long for the terminal."""
        if not rest:
            return line
        if self._console is None or width is None or line.cell_len + 2 + rest.cell_len <= width:
            return Text.assemble(line, "  ", rest)
        below = rest.wrap(self._console, max(width - len(_INDENT), 1), overflow="fold")
        return Text("\n").join([line, *(Text.assemble(_INDENT, part) for part in below)])

    def _operation(self, type_: str, data: Message, room: int | None) -> tuple[Text, Text]:
        has_bytes = data.get("direction") is not None
        count = data.get("bytes", data.get("step")) if has_bytes else None
        outcome = _text(data, "outcome") or type_.rpartition(".")[2]
        attempts = data.get("attempts")
        more = f"{attempts:,} attempts" if isinstance(attempts, int) and attempts > 1 else ""
        return self._line(data, _text(data, "operation"), _text(data, "key"), room, _bytes(count), outcome, more)

    def _transaction(self, type_: str, data: Message, room: int | None) -> tuple[Text, Text]:
        outcome = _text(data, "outcome")
        if not outcome:
            return self._line(data, "begin", _text(data, "notes"), room, "", type_.rpartition(".")[2])
        count = data.get("operations")
        operations = f"{count:,} op{'s' * (count != 1)}" if isinstance(count, int) else ""
        return self._line(data, _ENDINGS.get(outcome, "rollback"), _text(data, "notes"), room, operations, outcome)

    def _line(
        self,
        data: Message,
        action: str,
        key: str,
        room: int | None,
        count: str = "",
        outcome: str = "",
        more: str = "",
    ) -> tuple[Text, Text]:
        """Return the columns of a line, and what follows them."""
        numbers = f"{count:>{_BYTES_WIDTH}}  {_duration(data.get('duration')):>{_DURATION_WIDTH}}  "
        store = _text(data, "store")
        if room is None:
            texts = {"store": store, "action": action, "key": key}
            columns = [self._padded(name, text, _MAX_WIDTHS[name]) for name, text in texts.items()]
        else:
            right = len(numbers) + max(len(outcome), _OUTCOME_WIDTH) if outcome or numbers.strip() else -2
            columns = self._fitted(store, action, key, room, right)
        line = Text.assemble(columns[0], (columns[1], "bold"), columns[2], numbers, (outcome, _STYLES.get(outcome, "")))
        return line, Text("  ").join(part for part in (Text(more), Text(_error(data), "red")) if part)

    def _padded(self, name: str, text: str, most: int) -> str:
        """Return the text in a column that grows with its texts, up to `most`."""
        width = cell_len(text)
        self._widths[name] = max(self._widths[name], min(width, _MAX_WIDTHS[name]))
        return text + " " * (max(min(self._widths[name], most) - width, 0) + 2)

    def _fitted(self, store: str, action: str, key: str, room: int, right: int) -> list[str]:
        """Return the columns of these texts in the room of a terminal. A longer action takes room from its key."""
        most = self._store_room(key, room)
        store = self._padded("store", self._stores.shortened(store, most), most)
        action = f"{shortened(action, _MAX_WIDTHS['action']):<{_MIN_WIDTHS['action']}}  "
        taken = cell_len(action) - 2
        most = max(room - right - cell_len(store) - taken - 4, _MIN_KEY)
        key = shortened(key, most)
        column = min(most, _MAX_WIDTHS["key"] + _MIN_WIDTHS["action"] - taken)
        return [store, action, key + " " * (max(column - cell_len(key), 0) + 2)]

    def _store_room(self, key: str, room: int) -> int:
        """Return the width that a store may have: a share of the line, or what the keys so far leave free."""
        self._widest_key = max(self._widest_key, cell_len(key))
        free = room - _RIGHT - 2 - _MIN_WIDTHS["action"] - 2
        most = max((room - _RIGHT) // 4, free - self._widest_key, _MIN_WIDTHS["store"])
        return min(most, _MAX_WIDTHS["store"])

    def _process(self, pid: Any) -> str:
        """Return the column of the process, or nothing as long as all events are of one process."""
        is_known = isinstance(pid, int) and 0 < pid < _MAX_PID
        if is_known and len(self._processes) <= 1:
            self._processes.add(pid)
        if len(self._processes) <= 1:
            return ""
        return f"{pid if is_known else '':>{_PID_WIDTH}}  "

    def _time(self, text: Any, width: int | None) -> str:
        is_narrow = width is not None and width < _NARROW
        try:
            moment = datetime.fromisoformat(text).astimezone()
        except (TypeError, ValueError, OverflowError, OSError):  # the platform may not support the year
            return "--:--:--" if is_narrow else "--:--:--.---"
        shown = moment.isoformat(" ", "milliseconds")[: 19 if is_narrow else 23]
        if moment.date() == self._now().date():
            return shown[11:]
        return shown[5:] if is_narrow else shown


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
        return _text(data, "error").strip()
    type_, message = _text(error, "type"), _text(error, "message").strip()
    if message.startswith(type_) and not (type_ and _WORD.match(message, len(type_))):
        return message
    return f"{type_}: {message}" if message else type_


def _as_json(value: Any) -> str:
    try:
        return printable(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return "..."
