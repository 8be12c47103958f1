"""Text that never controls a terminal and never forges a line of a log."""

from __future__ import annotations

import json
import traceback

from encore_events.text import message_of

__all__ = ["printable", "printable_json", "traceback_of"]


def printable(text: str) -> str:
    r"""Escape all characters that are not printable, so that the text is one line and has no terminal codes.

    >>> print(printable("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def printable_json(text: str) -> str:
    r"""Escape all characters of JSON that are not printable, so that it means the same and has no terminal codes.

    >>> print(printable_json('{"key": "a\x9b2J"}'))
    {"key": "a\u009b2J"}
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def traceback_of(error: BaseException) -> str:
    """Return the traceback without local variables. All lines but the first are indented.

    A line of the error's message is then never taken for a line of the log. An error whose own attributes raise has
    only its class and its message.
    """
    try:
        text = "".join(traceback.format_exception(error)).rstrip()
    except Exception:  # noqa: BLE001 (the program's own attributes, such as `__notes__`)
        text = f"{type(error).__name__}: {message_of(error)}"
    return "\n".join(f"  {printable(line)}".rstrip() for line in text.split("\n")).lstrip()


def _escaped(one: str) -> str:
    return json.dumps(one)[1:-1] if one != "\x7f" else r"\u007f"
