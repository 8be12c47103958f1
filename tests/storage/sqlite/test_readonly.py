"""Tests of SqliteStore with a file that is not writable, permanently or temporarily."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.errors import StoreConnectionError, StoreReadOnlyError
from encore_storage.stores import SqliteStore
from tests.storage.sqlite.support import MEBIBYTE, store_at


@pytest.fixture
def readonly_path(unprivileged: Path) -> Path:
    """The path of a database with one value, closed and not writable."""
    path = unprivileged / "store.db"
    with store_at(path) as store:
        store.from_bytes("a", b"old")
    path.chmod(0o444)
    return path


@pytest.fixture
def reader(readonly_path: Path) -> Iterator[SqliteStore]:
    """A store opened while its file was not writable."""
    with store_at(readonly_path, name="archive") as store:
        yield store


def test_readonly_file_can_be_read(reader: SqliteStore) -> None:
    assert reader.to_bytes("a") == b"old"
    assert list(reader.query_keys()) == ["a"]


def test_write_to_a_readonly_file_raises_an_error(reader: SqliteStore, readonly_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            StoreReadOnlyError, match=f"store 'archive' cannot write to '{readonly_path}' .*: check the permissions"
        ):
            reader.from_bytes("a", b"new")
    with pytest.raises(StoreReadOnlyError):
        reader.transaction().__enter__()

    assert reader.to_bytes("a") == b"old"


@pytest.mark.parametrize("has_tried", [True, False])
@pytest.mark.parametrize("has_log", [True, False])
def test_file_is_writable_again_after_a_temporary_fault(readonly_path: Path, has_tried: bool, has_log: bool) -> None:
    """The log and its index inherit the read-only mode of the file, and keep it."""
    if has_log:
        store_at(readonly_path).disconnect()
    with store_at(readonly_path) as store:
        assert store.to_bytes("a") == b"old"
        if has_tried:
            with pytest.raises(StoreReadOnlyError):
                store.from_bytes("a", b"new")
        readonly_path.chmod(0o644)

        store.from_bytes("a", b"new")
        with store.transaction():
            store.from_bytes("b", b"new")

        assert (store.to_bytes("a"), store.to_bytes("b")) == (b"new", b"new")


def test_shared_file_is_writable_again_after_a_temporary_fault(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    with store_at(path) as other:
        other.from_bytes("a", b"old")
        path.chmod(0o444)
        with store_at(path) as store:
            assert store.to_bytes("a") == b"old"
            path.chmod(0o644)

            store.from_bytes("a", b"new")

        assert other.to_bytes("a") == b"new"


def test_open_stream_survives_a_temporary_fault(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    with store_at(path) as store:
        store.from_bytes("a", bytes(2 * MEBIBYTE))
    path.chmod(0o444)
    with store_at(path) as store, store.get_data("a") as data:
        path.chmod(0o644)
        store.from_bytes("a", b"new")

        assert store.to_bytes("a") == b"new"
        assert len(data.read()) == 2 * MEBIBYTE


def test_failed_reopening_is_repeated_by_the_next_write(reader: SqliteStore, readonly_path: Path) -> None:
    readonly_path.chmod(0)
    for _ in range(2):
        with pytest.raises(StoreConnectionError, match="cannot open"):
            reader.from_bytes("a", b"new")
    readonly_path.chmod(0o644)

    reader.from_bytes("a", b"new")

    assert reader.to_bytes("a") == b"new"


def test_empty_readonly_file_is_rejected(unprivileged: Path) -> None:
    path = unprivileged / "store.db"
    path.touch(0o444)

    with pytest.raises(StoreReadOnlyError):
        store_at(path)


def test_readonly_directory_error_names_the_path(readonly_path: Path) -> None:
    readonly_path.parent.chmod(0o555)
    try:
        with pytest.raises(
            StoreReadOnlyError,
            match=f"cannot write to '{readonly_path}' .*: check the permissions .* and its directory",
        ):
            store_at(readonly_path)
    finally:
        readonly_path.parent.chmod(0o755)


def test_process_is_unprivileged(unprivileged: Path) -> None:
    assert os.geteuid() != 0
