"""Files that observed file systems open: one operation from the opening to the close."""

from __future__ import annotations

import gc
import gzip
import io
import pickle
import threading
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileOpener, LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.implementations.zip import ZipFileSystem

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent
from tests.clients.fsspec_support import BufferedFileSystem, changes, check, ends, make
from tests.storage.support import settled

TEXT = b"one\ntwo\nthree"


@pytest.fixture(params=["memory", "local", "buffered"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager, recorder: EventRecorder
) -> Iterator[tuple[Any, str]]:
    """Yield an observed file system with a file of three lines, and its path."""
    fs: Any
    if request.param == "local":
        fs, path = LocalFileSystem(skip_instance_cache=True), str(tmp_path / "text")
    else:
        cls = MemoryFileSystem if request.param == "memory" else BufferedFileSystem
        fs, path = cls(skip_instance_cache=True, global_store=False), "/text"
    with fs.open(path, "wb") as file:
        file.write(TEXT)
    yield observe(fs, event_manager=manager), path
    unobserve(fs)


@pytest.fixture
def buffered(manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    fs = BufferedFileSystem(skip_instance_cache=True, global_store=False)
    MemoryFile(fs, "/a", bytes(range(20))).commit()
    yield observe(fs, event_manager=manager)
    unobserve(fs)


@pytest.mark.parametrize(
    ("read", "size"),
    [
        ("file.read()", 13),
        ("file.read(4)", 4),
        ("[file.read(4), file.read(4), file.seek(0), file.read(2)]", 10),
        ("file.readline()", 4),
        ("file.readlines()", 13),
        ("list(file)", 13),
        ("next(iter(file))", 4),
        ("file.readinto(bytearray(5))", 5),
        ("[file.readline(), file.read()]", 13),
        ("file.seek(0, 2)", 0),
    ],
)
def test_reading_counts_the_bytes_that_the_caller_gets(
    place: tuple[Any, str], recorder: EventRecorder, read: str, size: int
) -> None:
    fs, path = place
    with fs.open(path) as file:
        assert eval(read, {"file": file}) == eval(read, {"file": io.BytesIO(TEXT)})
        assert recorder.of(StoreProgressEndEvent) == []

    assert ends(recorder) == [("get", path, "ok", size, None)]
    check(recorder)


@pytest.mark.parametrize("wrapper", [io.TextIOWrapper, io.BufferedReader])
def test_file_in_a_wrapper_ends_with_that(place: tuple[Any, str], recorder: EventRecorder, wrapper: Any) -> None:
    fs, path = place
    with wrapper(fs.open(path)) as file:
        assert len(file.read()) == 13

    assert ends(recorder) == [("get", path, "ok", 13, None)]


@pytest.mark.parametrize(
    ("read", "size"),
    [("file.read()", 13), ("list(file)", 13), ("file.readline()", 13), ("file.read(1)", 13), ("None", 0)],
)
def test_text_is_counted_in_the_bytes_below(
    place: tuple[Any, str], recorder: EventRecorder, read: str, size: int
) -> None:
    fs, path = place
    with fs.open(path, "r", encoding="ascii") as file:
        assert type(file) is io.TextIOWrapper
        eval(read, {"file": file})

    assert ends(recorder) == [("get", path, "ok", size, None)]


@pytest.mark.parametrize(
    ("write", "size"),
    [
        ("file.write(b'12345')", 5),
        ("[file.write(b'1') for _ in range(9)]", 9),
        ("file.write(memoryview(b'123'))", 3),
        ("file.writelines([b'12', b'345'])", 5),
        ("file.writelines(iter([b'12', b'345']))", 5),
        ("None", 0),
    ],
)
def test_writing_counts_bytes_and_sets_the_key_at_the_close(
    place: tuple[Any, str], recorder: EventRecorder, write: str, size: int
) -> None:
    fs, path = place
    with fs.open(path, "wb") as file:
        eval(write, {"file": file})
        assert changes(recorder) == []

    assert ends(recorder) == [("set", path, "ok", size, None)]
    assert changes(recorder) == [("set", path)]
    assert fs.size(path) == size
    check(recorder)


def test_writing_text_counts_encoded_bytes(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, path = place
    with fs.open(path, "w", encoding="utf-16-le") as file:
        file.write("äöü")

    assert ends(recorder) == [("set", path, "ok", 6, None)]
    assert changes(recorder) == [("set", path)]


def test_appending_counts_what_is_appended(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, path = place
    with fs.open(path, "ab") as file:
        file.write(b"!")

    assert ends(recorder) == [("set", path, "ok", 1, None)]
    assert changes(recorder) == [("set", path)]


def test_exclusive_mode_is_a_set(recorder: EventRecorder, manager: EventManager) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.open("/x", "xb") as file:
        file.write(b"1")
    with pytest.raises(FileExistsError):
        fs.open("/x", "xb")

    assert ends(recorder) == [("set", "/x", "ok", 1, None), ("set", "/x", "error", 0, None)]


def test_file_opened_for_both_changes_the_key_only_if_it_was_written(
    tmp_path: Path, manager: EventManager, recorder: EventRecorder
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    with fs.open(str(path), "r+b") as file:
        file.read()
    assert changes(recorder) == []
    with fs.open(str(path), "r+b") as file:
        file.write(b"x")

    assert [end[0] for end in ends(recorder)] == ["set", "set"]
    assert changes(recorder) == [("set", str(path))]


def test_closed_file_has_no_trace(place: tuple[Any, str]) -> None:
    fs, path = place
    file = fs.open(path)
    cls, read, close = file.__class__, file.read, file.close
    assert isinstance(file, cls)
    file.close()
    file.close()

    assert type(file) is cls
    assert not [name for name in vars(file) if "encore" in name]
    close()  # methods that were taken before still work
    if not isinstance(file, MemoryFile):
        with pytest.raises(ValueError, match="closed"):
            read(1)


def test_early_close_is_ok_with_the_bytes_that_were_read(place: tuple[Any, str], recorder: EventRecorder) -> None:
    fs, path = place
    file = fs.open(path)
    file.read(3)
    file.close()

    assert ends(recorder) == [("get", path, "ok", 3, None)]


def test_error_in_the_block_of_a_written_file_is_the_error_of_the_operation(
    place: tuple[Any, str], recorder: EventRecorder
) -> None:
    fs, path = place
    with pytest.raises(ZeroDivisionError), fs.open(path, "wb") as file:
        file.write(b"12")
        raise ZeroDivisionError

    assert ends(recorder) == [("set", path, "error", 2, None)]
    assert changes(recorder) == [("set", path)]  # fsspec commits all the same
    assert fs.cat(path) == b"12"


def test_unclosed_file_that_is_collected_is_cancelled(
    tmp_path: Path, buffered: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    local = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    for fs, path in ((local, str(tmp_path / "a")), (buffered, "/a")):
        for mode in ("rb", "r"):
            file = fs.open(path, mode, **({"encoding": "latin-1"} if mode == "r" else {}))
            file.read(2)
            del file
            gc.collect()
    settled()

    assert {end[2] for end in ends(recorder)} == {"cancelled"}
    assert len(ends(recorder)) == 4
    check(recorder)


def test_file_of_the_memory_file_system_ends_when_it_is_opened_again(
    manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(make(), event_manager=manager)
    fs.pipe("/a", b"12345")
    fs.open("/a").read(2)
    fs.open("/a").read()
    fs.open("/a").close()

    assert [end[2:4] for end in ends(recorder)] == [("ok", 5), ("ok", 2), ("ok", 5), ("ok", 0)]


def test_text_file_that_is_collected_late_leaves_the_next_opening_alone(
    manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.open("/a", "w") as text:
        text.write("12345")
    with fs.open("/a") as file:
        del text
        gc.collect()
        assert file.read() == b"12345"

    assert ends(recorder) == [("set", "/a", "ok", 5, None), ("get", "/a", "ok", 5, None)]


def test_fetched_bytes_are_counted_apart(buffered: Any, recorder: EventRecorder) -> None:
    with buffered.open("/a", block_size=8) as file:
        assert file.read(1) == b"\0"
        file.seek(12)
        assert file.read(1) == b"\x0c"

    end = recorder.one(StoreProgressEndEvent)
    assert (end.bytes, end.fetched) == (2, 9 + 8)
    assert end.first_byte is not None
    assert end.steps == 20


@pytest.mark.parametrize("cache", ["none", "readahead", "bytes", "all", "first", "blockcache", "background"])
def test_caches_of_files_count_what_they_fetch(buffered: Any, recorder: EventRecorder, cache: str) -> None:
    with buffered.open("/a", block_size=8, cache_type=cache) as file:
        assert file.read(4) == bytes(range(4))
        assert file.read() == bytes(range(4, 20))

    end = recorder.one(StoreProgressEndEvent)
    assert end.bytes == 20
    assert end.fetched is not None
    assert 20 <= end.fetched <= 60


def test_failing_fetch_ends_the_operation_with_the_bytes_before(buffered: Any, recorder: EventRecorder) -> None:
    with buffered.open("/a") as file:
        file.read(2)
        buffered.fail_at = "fetch"
        file.seek(10)
        with pytest.raises(ConnectionResetError):
            file.read(4)

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.error_type, end.bytes) == ("error", "connection", 2)
    check(recorder)


@pytest.mark.parametrize(("fail_at", "accepted"), [("part", 0), ("final", 6)])
def test_failing_upload_counts_what_the_store_accepted(
    buffered: Any, recorder: EventRecorder, fail_at: str, accepted: int
) -> None:
    buffered.fail_at = fail_at
    file = buffered.open("/b", "wb")
    with pytest.raises(ConnectionResetError):
        file.write(b"123456")
        file.write(b"12")
        file.close()

    assert ends(recorder) == [("set", "/b", "error", accepted, None)]
    assert changes(recorder) == []
    buffered.fail_at = None
    check(recorder)


def test_compressed_file_counts_the_bytes_of_the_caller(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(make(), event_manager=manager)
    with fs.open("/a.gz", "wb", compression="gzip") as file:
        file.write(b"1" * 1000)
    with fs.open("/a.gz", compression="infer") as file:
        assert isinstance(file, gzip.GzipFile)
        assert len(file.read()) == 1000

    assert [end[:4] for end in ends(recorder)] == [("set", "/a.gz", "ok", 1000), ("get", "/a.gz", "ok", 1000)]


def test_pickled_open_file_is_plain(tmp_path: Path, manager: EventManager, recorder: EventRecorder) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    with fs.open(str(tmp_path / "a")) as file:
        file.read(2)
        loaded = pickle.loads(pickle.dumps(file))
        assert type(loaded) is LocalFileOpener
        assert loaded.read() == b"345"
        loaded.close()

    assert ends(recorder) == [("get", str(tmp_path / "a"), "ok", 2, None)]


def test_pickled_buffered_file_is_opened_again(buffered: Any, recorder: EventRecorder) -> None:
    with buffered.open("/a") as file:
        file.read(2)
        loaded = pickle.loads(pickle.dumps(file))
        assert loaded.read(2) == b"\x02\x03"
        loaded.close()

    assert [end[3] for end in ends(recorder)] == [2]


def test_file_in_memory_is_pickled_plain(manager: EventManager) -> None:
    fs = observe(make(), event_manager=manager)
    fs.pipe("/a", b"12345")
    with fs.open("/a") as file:
        loaded = pickle.loads(pickle.dumps(file))

    assert type(loaded) is MemoryFile
    assert loaded.getvalue() == b"12345"
    assert not [name for name in vars(loaded) if "encore" in name]


def test_open_file_of_fsspec_is_observed_in_all_its_layers(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(fsspec.filesystem("memory"), event_manager=manager)
    try:
        with fsspec.open("memory://encore/a.gz", "wt", compression="gzip") as file:
            file.write("1" * 1000)
        opened = fsspec.open("memory://encore/a.gz", "rt", compression="gzip")
        with pickle.loads(pickle.dumps(opened)) as file:
            assert file.read() == "1" * 1000
        fs.rm("/encore", recursive=True)
    finally:
        unobserve(fs)

    write, read = [end for end in ends(recorder) if end[0] in {"set", "get"}]
    assert write[:3] == ("set", "/encore/a.gz", "ok")
    assert read[:3] == ("get", "/encore/a.gz", "ok")
    assert 0 < write[3] == read[3] < 100


def test_zip_archive_is_a_store(tmp_path: Path, manager: EventManager, recorder: EventRecorder) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.txt", TEXT)
    fs = observe(ZipFileSystem(str(tmp_path / "a.zip")), event_manager=manager)
    with fs.open("inner.txt") as file:
        assert file.readline() == b"one\n"
    assert fs.cat("inner.txt") == TEXT
    with fs.open("inner.txt", "r") as text:
        assert list(text) == ["one\n", "two\n", "three"]

    assert [end[:4] for end in ends(recorder)] == [
        ("get", "inner.txt", "ok", 4),
        ("get", "inner.txt", "ok", 13),
        ("get", "inner.txt", "ok", 13),
    ]
    assert {end.store for end in recorder.of(StoreProgressEndEvent)} == {"zip"}
    made = observe(ZipFileSystem(str(tmp_path / "b.zip"), mode="w"), event_manager=manager)
    with made.open("x", "wb") as file:
        file.write(b"123")
    made.close()
    assert ends(recorder)[-1][:4] == ("set", "x", "ok", 3)


def test_files_keep_nothing_alive(manager: EventManager, recorder: EventRecorder, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)
    file = fs.open(str(tmp_path / "a"))
    file.read()
    file.close()
    references = weakref.ref(fs), weakref.ref(file)
    del fs, file
    gc.collect()

    assert [reference() for reference in references] == [None, None]


def test_threads_with_files_of_their_own_are_counted_exactly(
    tmp_path: Path, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(LocalFileSystem(skip_instance_cache=True), event_manager=manager)

    def work(number: int) -> None:
        for index in range(100):
            path = str(tmp_path / f"{number}-{index}")
            with fs.open(path, "wb") as file:
                file.write(b"123")
            with fs.open(path) as file:
                file.read(2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(end[3] for end in ends(recorder)) == 8 * 100 * 5
    assert len(recorder.of(StoreProgressStartEvent)) == len(ends(recorder)) == 1600


def test_pandas_reads_and_writes_through_an_observed_file_system(
    tmp_path: Path, manager: EventManager, recorder: EventRecorder
) -> None:
    pandas = pytest.importorskip("pandas")
    path = str(tmp_path / "a.csv")
    observe(LocalFileSystem(auto_mkdir=True), event_manager=manager)  # pandas writes with it
    observe(LocalFileSystem(), event_manager=manager)
    try:
        pandas.DataFrame({"a": [1, 2]}).to_csv(f"local://{path}", index=False)
        assert pandas.read_csv(f"local://{path}")["a"].sum() == 3
    finally:
        unobserve(LocalFileSystem())
        unobserve(LocalFileSystem(auto_mkdir=True))

    assert [end for end in ends(recorder) if end[3]] == [("set", path, "ok", 6, None), ("get", path, "ok", 6, None)]
    check(recorder)


def test_pyarrow_reads_and_writes_through_an_observed_file_system(buffered: Any, recorder: EventRecorder) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"a": [1, 2]}), "/a.parquet", filesystem=buffered)
    assert parquet.read_table("/a.parquet", filesystem=buffered).num_rows == 2
    with buffered.open("/a.parquet") as file:
        assert parquet.ParquetFile(file).read().num_rows == 2
    gc.collect()
    settled()

    done = [end for end in ends(recorder) if end[3]]
    size = len(buffered.store["/a.parquet"].getvalue())
    assert done[0] == ("set", "/a.parquet", "ok", size, None)
    assert {end[0] for end in done[1:]} == {"get"}
    assert min(end[3] for end in done) > 8
    check(recorder)
