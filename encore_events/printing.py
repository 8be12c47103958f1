"""Text that never controls a terminal and never forges a line of a log."""

from __future__ import annotations

import traceback

__all__ = ["printable", "text_of", "traceback_of"]


def printable(text: str) -> str:
    r"""Escape all characters that are not printable, so that the text is one line and has no terminal codes.

    >>> print(printable("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def text_of(value: object) -> str:
    """Return the value's `str`, or the name of its class if `str` fails."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 (a program's own method: an error in it must not lose the event)
        return f"<{type(value).__name__}>"


def traceback_of(error: BaseException) -> str:
    """Return the traceback without local variables. All lines but the first are indented.

    A line of the error's message is then never taken for a line of the log.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(f"  {printable(line)}".rstrip() for line in text.split("\n")).lstrip()
