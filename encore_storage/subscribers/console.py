"""Text in the lines of a console: escaped once, and in quotes where it has spaces."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from encore_events.printing import printable

_SEVERAL_LINES = ("exception", "stack")


def escape_texts(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape the text of all fields, so that none forges a field or a line, or controls the terminal.

    It is a processor of structlog, to be followed by a `ConsoleRenderer(repr_native_str=True)`.
    """
    for name, value in line.items():
        if isinstance(value, str) and name not in _SEVERAL_LINES:
            line[name] = _Quoted(printable(value))
    return line


class _Quoted(str):
    """Printable text whose `repr` is in quotes, with escapes only if it has both kinds of quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        quote = next((one for one in "'\"" if one not in self), None)
        return super().__repr__() if quote is None else f"{quote}{self}{quote}"
