"""Fixtures of the tests of SqliteStore."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import store_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the database, which does not exist yet."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in a file."""
    with store_at(path, name="archive") as store:
        yield store


@pytest.fixture
def memory() -> SqliteStore:
    """A store in memory."""
    return store_at(":memory:", name="archive")


@pytest.fixture(params=["file", "memory"])
def either(request: pytest.FixtureRequest) -> SqliteStore:
    """A store in a file, then one in memory."""
    store: SqliteStore = request.getfixturevalue("store" if request.param == "file" else "memory")
    return store


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    """A pool with one other thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
