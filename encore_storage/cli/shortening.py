"""Texts shortened to the width of a column."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*:(//)?(?=.)")
_MOST_NAMES = 1000  # a client may use any number of names


class ShortNames:
    """The shortened forms of names. Different names have different forms, and at one width a name keeps its form.

    >>> names = ShortNames()
    >>> stores = ["archive", "sqlite:orders.db", "s3:invoices-eu-old", "gs:invoices-eu-old"]
    >>> [names.shortened(store, 10) for store in stores]
    ['archive', '…orders.db', '…inv…u-old', 'gs:i…u-old']
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # by form

    def __repr__(self) -> str:
        return f"<ShortNames: {len(self._names)} forms>"

    def shortened(self, name: str, width: int) -> str:
        """Return a form of the name that takes at most `width` columns, at least 6."""
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        return next(form for form in _forms(name, width) if self._names.setdefault(form, name) == name)


def shortened(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, with an ellipsis in the middle if it is longer.

    >>> shortened("reports/2026/q3.parquet", 12), shortened("q3", 12)
    ('repor…arquet', 'q3')
    """
    return text if cell_len(text) <= width else _cut(text, (width - 1) // 2, width // 2)


def _forms(name: str, width: int) -> Iterator[str]:
    """Yield ever less readable forms of a name: without its protocol, cut elsewhere, and numbered without end."""
    if cell_len(name) <= width:
        yield name
    else:
        yield shortened(_PROTOCOL.sub("…", name, count=1), width)
        yield shortened(name, width)
        yield from (_cut(name, start, width - 1 - start) for start in range(width - 1, -1, -1))
    for number in itertools.count(2):
        ending = f"~{number}"
        yield shortened(name, width - len(ending)) + ending


def _cut(text: str, start: int, end: int) -> str:
    return f"{set_cell_size(text, start)}…{set_cell_size(text[::-1], end)[::-1]}"
