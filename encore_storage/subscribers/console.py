"""The lines of a console: none of a program's objects forges a field or a line, or controls the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from encore_events.printing import printable, traceback_of
from encore_events.text import repr_of, text_of

_BLOCKS = ("exception", "stack")  # rendered below the line
_UNQUOTED = ("event", "logger", "logger_name", "level", "timestamp")  # rendered in columns of their own
_PLAIN_NAME = re.compile(r"[\w.:/@-]+")


def escape_texts(_logger: object, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Return the line with names and values that are printable, and with blocks whose lines are indented.

    It is a processor of structlog, to be followed by a `ConsoleRenderer(repr_native_str=True)`. That renders no
    `exc_info`, which must have been replaced by `exception`.
    """
    return {_escaped_name(name): _escaped(name, value) for name, value in line.items()}


def traceback_text(exc_info: tuple[object, BaseException, object]) -> str:
    """Return the traceback of an error, for `structlog.processors.ExceptionRenderer`."""
    return traceback_of(exc_info[1])


def _escaped_name(name: object) -> str:
    text = text_of(name)
    return text if _PLAIN_NAME.fullmatch(text) else printable(repr(text))


def _escaped(name: str, value: object) -> object:
    if name in _BLOCKS:
        return None if value is None else _indented(text_of(value))
    if name in _UNQUOTED:
        return printable(text_of(value))
    if isinstance(value, str):
        return _Quoted(printable(text_of(value)))
    return _Shown(printable(repr_of(value)))


def _indented(text: str) -> str:
    """Indent the lines that are not indented yet, so that none is taken for a line of the log."""
    lines = map(printable, text.split("\n"))
    return "\n".join(one if one.startswith(" ") else f"  {one}" for one in lines)


class _Shown(str):
    """Printable text whose `repr` is the text itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Quoted(str):
    """Printable text whose `repr` is in quotes, with escapes only if it has both kinds of quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        quote = next((one for one in "'\"" if one not in self), None)
        return super().__repr__() if quote is None else f"{quote}{self}{quote}"
