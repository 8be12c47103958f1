"""Tests of reading from FileSystemStore: a reader gets the bytes of its look-up in full, or an error."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from encore_storage.errors import ConflictError
from encore_storage.stores import FileSystemStore
from encore_storage.streams import MEBIBYTE
from tests.storage.filesystem.support import ActingSource, put
from tests.storage.support import open_files, run

OLD = bytes(MEBIBYTE) + b"old" * 1000
NEW = b"new" * len(OLD)


def test_open_stream_of_a_replaced_value_returns_the_old_bytes(store: FileSystemStore) -> None:
    store.from_bytes("a", OLD)
    with store.get_data("a") as data:
        head = data.read(10)
        store.from_bytes("a", NEW)

        assert head + data.read() == OLD


def test_open_stream_of_a_deleted_value_returns_the_old_bytes(store: FileSystemStore) -> None:
    store.from_bytes("a", OLD)
    with store.get_data("a") as data:
        head = data.read(10)
        store.delete("a")

        assert head + data.read() == OLD


def test_value_replaced_by_one_of_the_same_size_raises_conflict_error(store: FileSystemStore) -> None:
    for _ in range(50):  # the system tends to reuse inodes
        store.from_bytes("a", b"1")
        value = store.get("a")
        store.from_bytes("a", b"2")
        store.from_bytes("a", b"3")

        with pytest.raises(ConflictError, match="'a'"):
            value.data.read(-1)


def test_modification_time_has_nanoseconds(root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", iter((1_000_000_007, 1_000_000_009)).__next__)
    times = []
    for _ in range(2):
        store.from_bytes("a", b"1")
        times.append((root / "a").stat().st_mtime_ns)

    assert times == [1_000_000_007, 1_000_000_009]


@pytest.mark.parametrize("size", [0, 10, MEBIBYTE])
def test_file_truncated_during_a_read_raises_conflict_error(root: Path, store: FileSystemStore, size: int) -> None:
    store.from_bytes("a", OLD)
    with store.get_data("a") as data:
        os.truncate(root / "a", size)

        with pytest.raises(ConflictError, match="'a'"):
            data.read()


def test_file_changed_in_place_during_a_read_raises_conflict_error(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", OLD)
    with store.get_data("a") as data:
        data.read(10)
        with (root / "a").open("r+b") as file:
            file.seek(MEBIBYTE)
            file.write(b"new")
        os.utime(root / "a", ns=(0, 0))  # independent of the clock's resolution

        with pytest.raises(ConflictError, match="'a'"):
            data.read(len(OLD) - 10)  # no read past the end


def test_file_that_grows_during_a_read_raises_conflict_error(root: Path, store: FileSystemStore) -> None:
    store.from_bytes("a", OLD)
    with store.get_data("a") as data, (root / "a").open("ab") as file:
        file.write(b"more")
        file.flush()

        with pytest.raises(ConflictError, match="'a'"):
            data.read()


@pytest.mark.parametrize(("start", "end"), [(0, 0), (2, 5), (5, None), (None, 3), (8, 100), (100, 200), (7, 2)])
def test_range_is_read(store: FileSystemStore, start: int | None, end: int | None) -> None:
    store.from_bytes("a", b"0123456789")
    with store.get_data_range("a", start, end) as data:
        assert data.read() == b"0123456789"[start:end]


def test_chunks_are_closed_at_the_end_by_an_error_and_by_close(root: Path, store: FileSystemStore) -> None:
    put(store, "a", OLD, kind="k")
    entry = store._lookup("a")
    whole, closed, cut, unread = (store._open("a", entry, 0, entry.size) for _ in range(4))
    assert b"".join(whole) == OLD
    assert list(whole) == []
    next(closed)
    os.truncate(root / "a", 0)
    with pytest.raises(ConflictError):
        list(cut)

    for chunks in (closed, unread):
        chunks.close()  # type: ignore[attr-defined] # an iterator that holds a resource has close()
        assert list(chunks) == []


def test_collected_chunks_are_closed_silently(store: FileSystemStore) -> None:
    store.from_bytes("a", OLD)
    before = open_files()

    next(store._open("a", store._lookup("a"), 0, 1))

    assert open_files() == before


def test_no_descriptor_is_leaked(root: Path, store: FileSystemStore) -> None:
    put(store, "a/b", OLD, kind="k")
    before = open_files()

    put(store, "a/b", NEW, kind="l")
    value = store.get("a/b")
    with store.get_data("a/b") as data:
        data.read(1)
    store.to_bytes("a/b")
    list(store.query(kind="l"))
    with pytest.raises(OSError, match="gone"):
        store.set_data("a/b", ActingSource(lambda: os.truncate(root / "a" / "gone", 0)))
    store.delete("a/b")
    with pytest.raises(ConflictError):
        value.data.read(1)

    assert open_files() == before


READING_CHILD = """
import os, sys
from encore_events import EventManager
from encore_storage.stores import FileSystemStore

store = FileSystemStore(sys.argv[1], event_manager=EventManager())
data = b"".join(bytes([number]) * (1 << 20) for number in range(4))
store.from_bytes("a", data)
chunks = store._open("a", store._lookup("a"), 0, len(data))
first = next(chunks)
child = os.fork()
if not child:
    for chunk in chunks:
        pass
    chunks.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert first + b"".join(chunks) == data
"""


def test_reading_child_does_not_move_the_position_of_its_parent(root: Path) -> None:
    run(READING_CHILD, root, forks=True)
