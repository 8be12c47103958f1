"""Console lines of `open_logger`: no object of a program forges a line, or controls the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from encore_storage.subscribers.logs import open_logger

FORGED = "\x1b[2J\n2025-01-01 [info] forged\r\x85\u2028forged"


class Shown:
    """An object with an odd text."""

    def __repr__(self) -> str:
        return FORGED


class Text(str):
    """A string that claims to be printable."""

    __slots__ = ()

    def isprintable(self) -> bool:
        return True

    def __repr__(self) -> str:
        return self

    __str__ = __repr__


class Silent:
    """An object without a text."""

    def __repr__(self) -> str:
        raise ValueError(FORGED)


class UnreadableError(Exception):
    """An error whose notes can't be read."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # the point of the class
        raise ValueError(FORGED)


def failed(error: Exception) -> Exception:
    """Return the error with a traceback, a note and a cause."""
    with suppress(type(error)):
        raise error from KeyError(Shown())
    error.add_note(FORGED)
    return error


def log_exception(log: Any) -> None:
    """Log an error that is being handled."""
    try:
        raise type(FORGED, (Exception,), {})(FORGED)
    except Exception:
        log.exception("a")


ODD: dict[str, Callable[[Any], object]] = {
    "exception": log_exception,
    "exc_info": lambda log: log.error("a", exc_info=failed(OSError(5, FORGED, FORGED))),
    "exc_info without traceback": lambda log: log.error("a", exc_info=ValueError(FORGED)),
    "exc_info of a tuple": lambda log: log.error("a", exc_info=(ValueError, ValueError(FORGED), None)),
    "group": lambda log: log.error("a", exc_info=ExceptionGroup(FORGED, [failed(ValueError(FORGED))])),
    "syntax": lambda log: log.error("a", exc_info=SyntaxError(FORGED, (FORGED, 1, 1, FORGED))),
    "silent error": lambda log: log.error("a", exc_info=ValueError(Silent())),
    "unreadable error": lambda log: log.error("a", exc_info=UnreadableError(FORGED)),
    "no exception": lambda log: log.error("a", exc_info=True, exception=None, stack=None),  # noqa: LOG014 (the point)
    "text of an exception": lambda log: log.error("a", exception=FORGED),
    "object as an exception": lambda log: log.error("a", exception=Shown()),
    "stack": lambda log: log.error("a", stack=f"2025-01-01 {FORGED}"),
    "object as a stack": lambda log: log.error("a", stack=Silent()),
    "both": lambda log: log.error("a", stack=FORGED, exc_info=ValueError(FORGED)),
    "name": lambda log: log.error("a", **{FORGED: 1}),
    "bound name": lambda log: log.bind(**{FORGED: 1}).error("a"),
    "event": lambda log: log.error(FORGED),
    "object as an event": lambda log: log.error(Shown()),
    "logger": lambda log: log.error("a", logger=FORGED, logger_name=Shown()),
    "level": lambda log: log.error("a", level=FORGED, timestamp=FORGED),
    "object": lambda log: log.error("a", value=Shown()),
    "silent object": lambda log: log.error("a", value=Silent()),
    "nested": lambda log: log.error("a", value=[{FORGED: (Shown(), Text(FORGED))}]),
    "subclass": lambda log: log.error("a", value=Text(FORGED), other=[Text(FORGED)]),
    "class": lambda log: log.error("a", value=type(FORGED, (), {})),
    "bytes": lambda log: log.error("a", value=FORGED.encode()),
    "number": lambda log: log.error("a", value=10**5000),
}


@pytest.mark.parametrize("log", ODD.values(), ids=ODD)
def test_no_object_forges_a_line_or_controls_the_terminal(log: Callable[[Any], object]) -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        log(logger)

    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert "[error    ]" in first
    assert [line for line in others if line and not line.startswith(("  ", "====="))] == []
    assert [one for one in stream.getvalue() if not one.isprintable() and one != "\n"] == []


def test_name_of_a_field_cannot_forge_another() -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        logger.info("a", **{"x=1 outcome": "ok", "http.status": 200, "größe": 1.5, r"\x1b": None, "\x1b": True})

    names = r"""'\\x1b'=None '\x1b'=True 'x=1 outcome'='ok' größe=1.5 http.status=200"""
    assert sorted(stream.getvalue().split("  ")[-1].split(" ")) == sorted(f"{names}\n".split(" "))


def test_traceback_is_indented_and_otherwise_as_usual() -> None:
    stream = io.StringIO()
    with open_logger(stream, format="console") as logger:
        logger.error("failed", exc_info=failed(OSError("disk full")))

    lines = stream.getvalue().splitlines()
    assert lines[1].startswith("  KeyError: ")
    assert "  The above exception was the direct cause of the following exception:" in lines
    assert "  Traceback (most recent call last):" in lines
    assert lines[lines.index("  OSError: disk full") + 1].startswith("  ")


def test_json_line_has_the_class_of_an_object_without_a_text() -> None:
    stream = io.StringIO()
    with open_logger(stream, format="json") as logger:
        logger.info("a", value=[Silent()])

    assert json.loads(stream.getvalue())["value"] == ["<Silent>"]
