"""Tests of SqliteStore on a full disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.errors import StoreFullError
from tests.storage.sqlite.support import MEBIBYTE, run_sql, store_at
from tests.storage.support import run

LIMITED = """
import os, resource, signal, sys
from encore_events import EventManager
from encore_storage.errors import StoreError
from encore_storage.stores import SqliteStore

store = SqliteStore(sys.argv[1], event_manager=EventManager())
store.from_bytes("a", b"old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for _ in range(3):
    try:
        store.from_bytes("a", bytes(4 << 20))
    except StoreError as error:
        print(type(error).__name__, error)
    assert store.to_bytes("a") == b"old"
store.from_bytes("b", b"small")
assert list(store.query_keys()) == ["a", "b"]
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_keeps_old_values_and_accepts_small_ones(small_disk: Path) -> None:
    path = small_disk / "store.db"
    with store_at(path, name="archive") as store:
        store.from_bytes("a", b"old")
        for _ in range(3):
            with pytest.raises(StoreFullError, match=r"store 'archive' has no space left in .*: free some space"):
                store.from_bytes("a", bytes(20 * MEBIBYTE))

            assert store.to_bytes("a") == b"old"
        store.from_bytes("b", b"small")

        assert list(store.query_keys()) == ["a", "b"]
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]


def test_file_size_limit_keeps_old_values(path: Path) -> None:
    lines = run(LIMITED, path).splitlines()

    assert len(lines) == 3
    assert all(line.startswith("StoreConnectionError store 'sqlite' cannot reach") for line in lines)
    assert all("check the disk and the limits of this process" in line for line in lines)
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert path.stat().st_size < MEBIBYTE
