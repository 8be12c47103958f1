"""Operations as text in cells: JSON in UTF-8, in which no eight bytes are NaN."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

CELLS = 64
_TEXT = struct.Struct(f"{CELLS}d")
_LENGTHS = (200, 100, 50, 25, 12, 6)  # characters of a value, until the entry fits


def cells_of(entry: Mapping[str, Any]) -> Sequence[float]:
    """Return an entry as cells, with its longest values shortened until it fits."""
    for length in _LENGTHS:
        values = {name: shortened(item, length) if isinstance(item, str) else item for name, item in entry.items()}
        # A lone surrogate becomes its escape sequence, also in JSON.
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
        if len(text) <= _TEXT.size:
            return _TEXT.unpack(text.ljust(_TEXT.size, b"\0"))
    return [0.0] * CELLS


def entry_of(cells: Sequence[float]) -> dict[str, Any] | None:
    """Return the entry in the cells, or None if there is none."""
    try:
        entry = json.loads(_TEXT.pack(*cells).rstrip(b"\0"), parse_constant=lambda _: None)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def shortened(text: str, length: int) -> str:
    """Return the text, without its middle if it has more than `length` characters.

    >>> shortened("reports/2026/q3.parquet", 11)
    'repor…rquet'
    """
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"
