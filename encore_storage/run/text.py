"""The report of a run as text for a terminal."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from encore_storage.formatting import format_bytes, format_duration
from encore_storage.run.blocks import KEPT
from encore_storage.run.report import Entry, OperationReport, RunReport
from encore_storage.run.table import BOLD, INDENT, RED, WIDTH, Painter, Row, fitted, number, shown_name, table, width_of

NOTHING = "no storage operations: no process used fsspec, boto3, SQLAlchemy or a store of Encore"

_OPERATIONS = (
    "storage",
    *("count", "miss", "hit", "err", "cancelled", "retry", "bytes", "bytes/s", "p50", "p99", "total"),
)
_TRANSACTIONS = "transactions", "commits", "rollbacks", "without writes", "failed", "total"
_STORE_WIDTH = 20  # columns of a store's name in a list
_OPERATION_WIDTH = 15


def render(report: RunReport, *, seconds: float | None = None, is_colored: bool = False) -> str:
    """Return the report as text.

    Args:
        report: the report.
        seconds: the time that the program ran, or None if it isn't known.
        is_colored: whether headings are bold and errors red.
    """
    painter = Painter(is_colored=is_colored)
    sections = [
        [painter.paint(_summary(report, seconds), BOLD)] if report.stores else [NOTHING],
        _operations(report, painter),
        _transactions(report, painter),
        _rollbacks(report, painter),
        _slowest(report, painter),
        _errors(report, painter),
        _remarks(report),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _summary(report: RunReport, seconds: float | None) -> str:
    line = (
        f"{_number_of(report.count, 'storage operation')} took {format_duration(report.seconds)} "
        f"in {_number_of(report.processes, 'process')}"
    )
    return line if seconds is None else f"{line}; the program ran {format_duration(seconds)}"


def _operations(report: RunReport, painter: Painter) -> list[str]:
    rows = list[Row]()
    for store in report.stores:
        if store.operations:
            empty = [""] * (len(_OPERATIONS) - 2)
            rows.append(Row(_store_name(store.name, store.backend), [*empty, format_duration(store.seconds)], True))  # noqa: FBT003
            rows += [Row(one.name, _cells(one)) for one in store.operations]
    return table(_OPERATIONS, rows, painter, red=["err"]) if rows else []


def _cells(one: OperationReport) -> list[str]:
    middle, most = one.latencies.quantile(0.5), one.latencies.quantile(0.99)
    return [
        number(one.count),
        number(one.outcomes["miss"]),
        "-" if one.hit_ratio is None else _percentage(one.hit_ratio),
        number(one.outcomes["error"]),
        number(one.outcomes["cancelled"]),
        number(one.retries),
        format_bytes(one.bytes) if one.bytes else "-",
        "-" if one.bytes_per_second is None else format_bytes(one.bytes_per_second),
        "-" if middle is None else format_duration(middle),
        "-" if most is None else format_duration(most),
        format_duration(one.seconds),
    ]


def _transactions(report: RunReport, painter: Painter) -> list[str]:
    rows = list[Row]()
    for store in report.stores:
        outcomes = store.transactions
        if outcomes:
            known = [outcomes[name] for name in ("committed", "rolled_back", "closed")]
            counts = [*known, outcomes.total() - sum(known)]
            cells = [*map(number, counts), format_duration(store.transaction_seconds)]
            rows.append(Row(_store_name(store.name, store.backend), cells))
    return table(_TRANSACTIONS, rows, painter, red=["failed"]) if rows else []


def _rollbacks(report: RunReport, painter: Painter) -> list[str]:
    places = Counter[tuple[str, str]]()
    for store in report.stores:
        places.update({(place, store.name): count for place, count in store.rollbacks.items()})
    if not places:
        return []
    ranked = places.most_common()
    numbers = [f"{count:,}" for _, count in ranked]
    lines = [painter.paint("rolled back, by the place that began the transaction", BOLD)]
    for ((place, name), _), count in zip(ranked[:KEPT], numbers, strict=False):
        shown, beginning = shown_name(name, _STORE_WIDTH), f"{'':{INDENT}}{count.rjust(len(numbers[0]))}  "
        left = WIDTH - len(beginning) - width_of(shown) - 2
        lines.append(f"{beginning}{shown}  {shown_name(place or 'unknown place', left)}")
    others = ranked[KEPT:]
    if others:
        lines.append(
            f"{'':{INDENT}}{sum(count for _, count in others):,} more in {_number_of(len(others), 'other place')}"
        )
    return lines


def _slowest(report: RunReport, painter: Painter) -> list[str]:
    if not report.slowest:
        return []
    lines = [painter.paint("slowest operations", BOLD)]
    rows = [(format_duration(entry["duration"]), *_names(entry)) for entry in report.slowest]
    widths = [max(width_of(row[column]) for row in rows) for column in range(3)]
    for entry, (duration, operation, store, key) in zip(report.slowest, rows, strict=True):
        beginning = f"{'':{INDENT}}{duration.rjust(widths[0])}  {fitted(operation, widths[1])}  "
        beginning += fitted(store, widths[2]) + "  "
        moved = f"  {format_bytes(entry['bytes'])}" if entry["bytes"] else ""
        end = moved if entry["outcome"] == "ok" else f"{moved}  {entry['outcome']}"
        painted = painter.paint(end, RED) if entry["outcome"] == "error" else end
        lines.append(f"{beginning}{shown_name(key, WIDTH - width_of(beginning) - len(end))}{painted}".rstrip())
    return lines


def _errors(report: RunReport, painter: Painter) -> list[str]:
    if not report.errors:
        return []
    lines = [painter.paint("last errors", BOLD)]
    for entry in report.errors:
        operation, store, key = _names(entry)
        beginning = f"{'':{INDENT}}{time.strftime('%H:%M:%S', time.localtime(entry['time']))}  {operation}  {store}  "
        lines.append(f"{beginning}{shown_name(key, WIDTH - width_of(beginning))}".rstrip())
        lines.append(painter.paint(" " * 2 * INDENT + _error(entry, WIDTH - 2 * INDENT), RED))
    return lines


def _remarks(report: RunReport) -> list[str]:
    lines = list[str]()
    if report.running:
        still = "1 process still runs" if report.running == 1 else f"{report.running:,} processes still run"
        lines.append(f"{still}; what {'it does' if report.running == 1 else 'they do'} later is not counted here")
    if report.unreadable:
        files = "1 file" if report.unreadable == 1 else f"{report.unreadable:,} files"
        lines.append(f"{files} of processes cannot be read; what these did is missing here")
    return lines


def _names(entry: Entry) -> tuple[str, str, str]:
    """Return the operation, the store and the key of an entry, as they are shown."""
    operation, store, key = (_text(entry[name]) for name in ("operation", "store", "key"))
    return shown_name(operation, _OPERATION_WIDTH), shown_name(store, _STORE_WIDTH), key


def _error(entry: Entry, width: int) -> str:
    name, message = _text(entry["error"]), _text(entry["message"])
    words = message if message.startswith(name) else f"{name}: {message}"  # messages without text begin with the name
    end = f" ({entry['error_type']})" if entry["error_type"] else ""
    return shown_name(words if message else name or "error", width - len(end)) + end


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _store_name(name: str, backend: str) -> str:
    return f"{name} ({backend})" if backend and backend not in name else name


def _percentage(share: float) -> str:
    """Return a share below 1 as a percentage, which is never rounded to 100 %."""
    return f"{min(share * 100, 99.9):.1f}%"


def _number_of(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"
