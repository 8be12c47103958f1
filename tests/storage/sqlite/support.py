"""Helpers of the tests of SqliteStore."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_storage.stores import SqliteStore

MEBIBYTE = 1048576


class ActingSource:
    """A source of a mebibyte and one more chunk, which runs an action in between."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._chunks = self._parts(act)

    def _parts(self, act: Callable[[], object]) -> Iterator[bytes]:
        yield bytes(MEBIBYTE)
        act()
        yield b"end"

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def store_at(location: Path | str, **options: Any) -> SqliteStore:
    """Return a store with an event manager of its own."""
    return SqliteStore(location, event_manager=EventManager(), **options)


def fail(error: BaseException) -> Callable[[], object]:
    """Return a function that raises the error."""

    def act() -> None:
        raise error

    return act


def run_sql(path: Path, statement: str) -> list[Any]:
    """Return the rows of a statement, run by SQLite directly."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        return connection.execute(statement).fetchall()


def count_chunks(path: Path) -> int:
    """Return the number of rows of bytes, whether or not they belong to a key."""
    return int(run_sql(path, "SELECT count(*) FROM chunk")[0][0])
