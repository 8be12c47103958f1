"""What the tests of the SQLite store share, and say by name."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_storage.stores import SqliteStore

MEBIBYTE = 1048576


class Meddling:
    """A file that gives a mebibyte and one chunk more, and does something in between."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._chunks = self._parts(act)

    def _parts(self, act: Callable[[], object]) -> Iterator[bytes]:
        yield bytes(MEBIBYTE)
        act()
        yield b"end"

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def store_at(location: Path | str, **options: Any) -> SqliteStore:
    """A store that emits on an event manager of its own."""
    return SqliteStore(location, event_manager=EventManager(), **options)


def fail(error: BaseException) -> Callable[[], object]:
    """A function that raises the error."""

    def act() -> None:
        raise error

    return act


def ask(path: Path, statement: str) -> list[Any]:
    """The rows that SQLite gives, asked past the store."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        return connection.execute(statement).fetchall()


def rows_left(path: Path) -> int:
    """How many rows of bytes there are, belonging to a key or not."""
    return int(ask(path, "SELECT count(*) FROM chunk")[0][0])
