"""A file that can't be written to: for good, or for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.errors import StoreConnectionError, StoreReadOnlyError
from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import MEBIBYTE, store_at


@pytest.fixture
def closed(unprivileged: Path) -> Path:
    """A database with a value in it, that nobody has open and nobody may write to."""
    path = unprivileged / "store.db"
    with store_at(path) as store:
        store.from_bytes("a", b"old")
    path.chmod(0o444)
    return path


@pytest.fixture
def reader(closed: Path) -> Iterator[SqliteStore]:
    """A store that was made while its file could not be written to."""
    with store_at(closed, name="archive") as store:
        yield store


def test_what_may_not_be_written_to_is_read(reader: SqliteStore) -> None:
    assert reader.to_bytes("a") == b"old"
    assert list(reader.query_keys()) == ["a"]


def test_a_write_says_that_it_may_not(reader: SqliteStore, closed: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            StoreReadOnlyError, match=f"store 'archive' may not write to '{closed}' .*: see who may write"
        ):
            reader.from_bytes("a", b"new")
    with pytest.raises(StoreReadOnlyError):
        reader.transaction().__enter__()

    assert reader.to_bytes("a") == b"old"


@pytest.mark.parametrize("has_tried", [True, False])
@pytest.mark.parametrize("has_log", [True, False])
def test_what_was_readonly_for_a_moment_is_written_to_afterwards(closed: Path, has_tried: bool, has_log: bool) -> None:
    """The log and its index take over that nobody may write to them, and are left so."""
    if has_log:
        store_at(closed).disconnect()
    with store_at(closed) as store:
        assert store.to_bytes("a") == b"old"
        if has_tried:
            with pytest.raises(StoreReadOnlyError):
                store.from_bytes("a", b"new")
        closed.chmod(0o644)

        store.from_bytes("a", b"new")
        with store.transaction():
            store.from_bytes("b", b"new")

        assert (store.to_bytes("a"), store.to_bytes("b")) == (b"new", b"new")


def test_what_another_has_open_and_was_readonly_for_a_moment_is_written_to_afterwards(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    with store_at(path) as other:
        other.from_bytes("a", b"old")
        path.chmod(0o444)
        with store_at(path) as store:
            assert store.to_bytes("a") == b"old"
            path.chmod(0o644)

            store.from_bytes("a", b"new")

        assert other.to_bytes("a") == b"new"


def test_a_stream_that_is_open_meanwhile_is_read_to_its_end_and_in_nobodys_way(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    with store_at(path) as store:
        store.from_bytes("a", bytes(2 * MEBIBYTE))
    path.chmod(0o444)
    with store_at(path) as store, store.get_data("a") as data:
        path.chmod(0o644)
        store.from_bytes("a", b"new")

        assert store.to_bytes("a") == b"new"
        assert len(data.read()) == 2 * MEBIBYTE


def test_a_connection_that_could_not_be_opened_anew_is_opened_by_the_next_write(
    reader: SqliteStore, closed: Path
) -> None:
    closed.chmod(0)
    for _ in range(2):
        with pytest.raises(StoreConnectionError, match="cannot open"):
            reader.from_bytes("a", b"new")
    closed.chmod(0o644)

    reader.from_bytes("a", b"new")

    assert reader.to_bytes("a") == b"new"


def test_an_empty_file_that_may_not_be_written_to_is_refused(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    path.touch(0o444)

    with pytest.raises(StoreReadOnlyError):
        store_at(path)


def test_a_database_in_a_directory_that_may_not_be_written_to_is_refused_by_name(closed: Path) -> None:
    closed.parent.chmod(0o555)
    try:
        with pytest.raises(StoreReadOnlyError, match=f"may not write to '{closed}' .*: see who .* and its directory"):
            store_at(closed)
    finally:
        closed.parent.chmod(0o755)


def test_those_who_may_not_write_are_held_back_here(unprivileged: Path) -> None:
    assert os.geteuid() != 0
