"""Tables of text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from encore_storage.formatting import printable
from encore_storage.run.entries import shortened

WIDTH = 80
INDENT = 2
_NARROWEST = 10  # columns for names
_ZERO = "-"

BOLD, RED = "1", "31"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: its first cell; names are shortened to what is left of the width.
        cells: the others; an empty one has no value, and '-' is zero.
        is_heading: whether it stands above rows that belong to it; of its cells, only the last one is shown.
    """

    name: str
    cells: Sequence[str]
    is_heading: bool = False


class Painter:
    """Colours for a terminal.

    Args:
        is_colored: whether there are any.
    """

    def __init__(self, *, is_colored: bool) -> None:
        self._is_colored = is_colored

    def paint(self, text: str, code: str) -> str:
        """Return the text in a colour or style of ANSI terminals."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_colored and text.strip() else text


def table(headings: Sequence[str], rows: Sequence[Row], painter: Painter, red: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table, without the columns that are zero everywhere.

    Args:
        headings: the headings, that of the names first.
        rows: the rows.
        painter: makes headings bold.
        red: the headings of the columns that are red.
    """
    shown = [number for number in range(len(headings) - 1) if any(row.cells[number] not in ("", _ZERO) for row in rows)]
    titles = [headings[number + 1] for number in shown]
    cells = [[row.cells[number] for number in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    gap = 2 if _wanted(headings[0], rows, widths, 2) + _taken(widths, 2) <= WIDTH else 1
    left = max(min(_wanted(headings[0], rows, widths, gap), WIDTH - _taken(widths, gap)), _NARROWEST)
    lines = [painter.paint(_line(fitted(headings[0], left), _padded(titles, widths), gap), BOLD)]
    for row, texts in zip(rows, cells, strict=True):
        if row.is_heading:
            room = left + _taken(widths, gap) - len(texts[-1]) - gap
            lines.append(painter.paint(_line(fitted(shown_name(row.name, room), room), texts[-1:], gap), BOLD))
            continue
        name = " " * INDENT + fitted(shown_name(row.name, left - INDENT), left - INDENT)
        padded = [
            painter.paint(one, RED) if title in red and one.strip() not in ("", _ZERO) else one
            for title, one in zip(titles, _padded(texts, widths), strict=True)
        ]
        lines.append(_line(name, padded, gap))
    return lines


def number(count: int) -> str:
    """Return a number as a cell."""
    return f"{count:,}" if count else _ZERO


def shown_name(text: str, width: int) -> str:
    """Return a name as it is shown: escaped, and shortened in the middle to a number of columns."""
    text, length = printable(text), width
    made = shortened(text, length)
    while width_of(made) > width and length > 1:  # wide characters take two columns
        length -= 1
        made = shortened(text, length)
    return made


def width_of(text: str) -> int:
    """Return the number of columns that a terminal needs for the text."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def fitted(text: str, width: int) -> str:
    """Return the text with spaces up to a number of columns."""
    return text + " " * (width - width_of(text))


def _wanted(heading: str, rows: Sequence[Row], widths: Sequence[int], gap: int) -> int:
    """Return the number of columns that the names want. Those of headings also use the empty cells beside them."""
    beside = _taken(widths, gap) - gap - widths[-1]
    names = [width_of(shown_name(row.name, WIDTH)) + (-beside if row.is_heading else INDENT) for row in rows]
    return max(width_of(heading), *names)


def _taken(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * len(widths)


def _line(name: str, cells: Sequence[str], gap: int) -> str:
    return (" " * gap).join([name, *cells]).rstrip()


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
