"""Files of fsspec that end later than they are used: deferred, left open, or read by other libraries."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent, StoreTransactionEndEvent
from tests.clients.fsspec_support import changes, check, ends, make
from tests.forking import until
from tests.storage.support import settled


def test_file_of_a_transaction_ends_at_its_close_and_changes_its_key_after_the_commit(
    manager: EventManager, recorder: EventRecorder, tmp_path: Path
) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    path = str(tmp_path / "a")
    with fs.transaction:
        with fs.open(path, "wb") as file:
            file.write(b"12345")
        assert ends(recorder) == [("set", path, "ok", 5, None)]
        assert changes(recorder) == []
        assert not Path(path).exists()

    assert changes(recorder) == [("set", path)]
    check(recorder)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_file_that_is_closed_after_its_transaction_changes_its_key(
    kind: str, manager: EventManager, recorder: EventRecorder, tmp_path: Path
) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True) if kind == "local" else make(), event_manager=manager)
    path = str(tmp_path / "a") if kind == "local" else "/a"
    with fs.transaction:
        file = fs.open(path, "wb")
        file.write(b"12345")
    file.close()

    assert fs.cat(path) == b"12345"
    assert recorder.one(StoreTransactionEndEvent).outcome == "committed"
    assert ends(recorder)[0] == ("set", path, "ok", 5, None)
    assert changes(recorder) == [("set", path)]
    check(recorder)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_file_that_is_closed_after_a_rollback_changes_no_key(
    kind: str, manager: EventManager, recorder: EventRecorder, tmp_path: Path
) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True) if kind == "local" else make(), event_manager=manager)
    path = str(tmp_path / "a") if kind == "local" else "/a"
    files = list[Any]()
    with pytest.raises(ZeroDivisionError), fs.transaction:
        files.append(fs.open(path, "wb"))
        files[0].write(b"12345")
        raise ZeroDivisionError
    files[0].close()

    assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"
    assert changes(recorder) == []
    assert not fs.exists(path)


def test_file_in_memory_that_pyarrow_leaves_open_ends_when_it_is_collected(
    manager: EventManager, recorder: EventRecorder
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    fs = observe(make(), event_manager=manager)
    parquet.write_table(pyarrow.table({"a": [1, 2]}), "/a.parquet", filesystem=fs)
    assert parquet.read_table("/a.parquet", filesystem=fs).num_rows == 2
    fs.rm("/a.parquet")  # which keeps its files alive

    def is_over() -> bool:
        gc.collect()
        settled()
        return len(recorder.of(StoreProgressStartEvent)) == len(recorder.of(StoreProgressEndEvent))

    until(is_over)  # pyarrow's threads let go of a file some time after it was read
    check(recorder)
    assert {end.operation for end in recorder.of(StoreProgressEndEvent)} >= {"get", "set", "delete"}


def test_dask_reads_and_writes_through_observed_file_systems(
    manager: EventManager, recorder: EventRecorder, tmp_path: Path
) -> None:
    dask_bytes, dask_bag = pytest.importorskip("dask.bytes"), pytest.importorskip("dask.bag")
    observe(fsspec, event_manager=manager)
    try:
        (tmp_path / "a.txt").write_bytes(b"0123456789" * 100)
        _, (blocks,) = dask_bytes.read_bytes(str(tmp_path / "*.txt"), blocksize=300, sample=False)
        data = b"".join(block.compute(scheduler="threads") for block in blocks)
        text = dask_bag.from_sequence(["1", "2"], npartitions=2).to_textfiles(f"{tmp_path}/*.csv", compute=False)
        for part in text:
            part.compute(scheduler="threads")
    finally:
        unobserve(fsspec)

    assert data == b"0123456789" * 100
    read = [end for end in recorder.of(StoreProgressEndEvent) if end.direction == "read"]
    assert sum(end.bytes for end in read) == 1000
    assert {end.outcome for end in read} == {"ok"}
    assert sorted(changes(recorder)) == [("set", f"{tmp_path}/{number}.csv") for number in range(2)]
    check(recorder)


def test_transaction_class_of_dask_is_importable_and_observable() -> None:
    program = """
import fsspec
from fsspec.transaction import DaskTransaction, FileActor
from encore_storage import observe, unobserve
fs = observe(fsspec.filesystem("memory", skip_instance_cache=True))
fs.transaction_type = DaskTransaction
try:
    fs.transaction
except ImportError as error:
    print(error.name)
unobserve(fs)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout in ("distributed\n", "")
