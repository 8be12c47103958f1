"""Layers of file systems, and observing all of fsspec."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.cached import CachingFileSystem, SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import _Cached

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.clients.swapping import options_of
from encore_storage.events import StoreProgressEndEvent
from tests.clients.fsspec_support import BufferedFileSystem, check, make


@pytest.fixture
def inner() -> Any:
    fs = make()
    fs.pipe({"/d/a": b"12345", "/d/b": b"1"})
    return fs


@pytest.fixture
def library(manager: EventManager, recorder: EventRecorder) -> Iterator[None]:
    """Observe all of fsspec."""
    observe(fsspec, event_manager=manager)
    yield
    unobserve(fsspec)


def by_store(recorder: EventRecorder) -> list[tuple[Any, ...]]:
    return [(end.store, end.operation, end.key, end.bytes) for end in recorder.of(StoreProgressEndEvent)]


def test_directory_and_the_file_system_below_are_two_stores(
    inner: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(DirFileSystem("/d", inner, skip_instance_cache=True), event_manager=manager)
    assert fs.cat("a") == b"12345"
    with fs.open("a") as file:
        file.read(2)
    with fs.open("a", "r") as file:
        file.read()

    assert by_store(recorder) == [
        ("memory", "get", "/d/a", 5),
        ("dir", "get", "a", 5),
        ("memory", "get", "/d/a", 2),
        ("dir", "get", "a", 2),
        ("memory", "get", "/d/a", 5),
        ("dir", "get", "a", 5),
    ]
    lower, upper = recorder.of(StoreProgressEndEvent)[:2]
    assert (lower.parent_id, upper.parent_id) == (upper.operation_id, None)
    check(recorder)


@pytest.mark.parametrize("cls", [SimpleCacheFileSystem, WholeFileCacheFileSystem])
def test_cache_and_the_file_system_below_are_two_stores(
    cls: Any, inner: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(cls(fs=inner, skip_instance_cache=True), event_manager=manager)
    for _ in range(2):
        with fs.open("/d/a") as file:
            assert file.read(2) == b"12"
            assert file.readline() == b"345"
    with fs.open("/d/a", "r") as text:
        assert text.read() == "12345"
    assert fs.cat("/d/a") == b"12345"

    cache = [end for end in by_store(recorder) if end[0] != "memory"]
    assert [end[1:] for end in cache] == [("get", "/d/a", 5)] * 4
    assert [end for end in by_store(recorder) if end[0] == "memory" and end[1] == "get"] == [
        ("memory", "get", "/d/a", 5)
    ]
    check(recorder)


def test_reader_of_a_cache_is_a_buffered_reader(inner: Any, manager: EventManager) -> None:
    fs = observe(SimpleCacheFileSystem(fs=inner, skip_instance_cache=True), event_manager=manager)
    with fs.open("/d/a") as file:
        plain = Path(file.name).open("rb")  # noqa: SIM115 (to compare with)
        with plain:
            assert isinstance(file, type(plain))
            assert file.__class__ is type(plain)
            assert repr(file) == repr(plain)


def test_writing_through_a_cache_counts_what_was_written(
    inner: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(SimpleCacheFileSystem(fs=inner, skip_instance_cache=True), event_manager=manager)
    with fs.open("/d/c", "wb") as file:
        file.write(b"123")
    file = fs.open("/d/e", "wb")
    file.write(b"1234")
    file.close()
    fs.pipe("/d/f", b"1")

    cache = [end[1:] for end in by_store(recorder) if end[0] == "simplecache"]
    assert cache == [("set", "/d/c", 3), ("set", "/d/e", 4), ("set", "/d/f", 1)]
    assert [end[3] for end in by_store(recorder) if end[:2] == ("memory", "set")] == [3, 4, 1]
    assert inner.cat("/d/c") == b"123"


def test_methods_that_a_cache_passes_on_are_observed(
    inner: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(SimpleCacheFileSystem(fs=inner, skip_instance_cache=True), event_manager=manager)
    fs.find("/d")
    fs.rm("/d/b")
    fs.exists("/d/b")
    fs.mv("/d/a", "/d/b")

    cache = [end[1:3] for end in by_store(recorder) if end[0] == "simplecache"]
    assert cache == [("list", "/d"), ("delete", "/d/b"), ("exists", "/d/b"), ("move", "/d/b")]
    check(recorder)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its cache leaves a file open
def test_cache_of_blocks_counts_what_it_fetches(manager: EventManager, recorder: EventRecorder) -> None:
    below = BufferedFileSystem(skip_instance_cache=True, global_store=False)
    MemoryFile(below, "/a", bytes(100)).commit()
    fs = observe(CachingFileSystem(fs=below, skip_instance_cache=True), event_manager=manager)
    with fs.open("/a", block_size=10) as file:
        assert len(file.read(3)) == 3

    (end,) = [end for end in recorder.of(StoreProgressEndEvent) if end.store == "blockcache"]
    assert (end.operation, end.bytes) == ("get", 3)
    assert end.fetched is not None
    assert end.fetched >= 10
    check(recorder)


@pytest.mark.parametrize("cls", [SimpleCacheFileSystem, CachingFileSystem])
def test_observed_cache_is_unchanged(cls: Any, inner: Any, manager: EventManager) -> None:
    fs = observe(cls(fs=inner, cache_storage="TMP"), event_manager=manager)
    assert fs.__class__ is cls
    assert isinstance(fs, cls)
    loaded = pickle.loads(pickle.dumps(fs))
    assert loaded.exists("/d/a") is fs.exists("/d/a")
    assert fs == fs  # noqa: PLR0124 (its __eq__)
    assert fs.protocol == cls.protocol
    unobserve(fs)

    assert type(fs) is cls
    assert type(inner) is MemoryFileSystem
    cls.clear_instance_cache()


def test_layers_are_observed_under_their_own_names(inner: Any, manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(DirFileSystem("/d", inner, skip_instance_cache=True), name="mine", event_manager=manager)
    fs.cat("a")

    assert {end.store for end in recorder.of(StoreProgressEndEvent)} == {"mine", "memory"}


def test_unobserving_a_layer_leaves_what_was_observed_by_itself(inner: Any, manager: EventManager) -> None:
    observe(inner, event_manager=manager)
    fs = observe(DirFileSystem("/d", inner, skip_instance_cache=True), event_manager=manager)
    unobserve(fs)

    assert options_of(inner) is not None
    unobserve(inner)
    assert type(inner) is MemoryFileSystem


def test_all_file_systems_are_observed_with_the_library(library: None, recorder: EventRecorder, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with fsspec.open(str(tmp_path / "a")) as file:
        file.read()
    MemoryFileSystem(skip_instance_cache=True).pipe("/encore", b"1")
    MemoryFileSystem().rm("/encore")

    assert [end[:2] for end in by_store(recorder)] == [("file", "get"), ("memory", "set"), ("memory", "delete")]
    check(recorder)


def test_cached_file_systems_are_observed_with_the_library(manager: EventManager, recorder: EventRecorder) -> None:
    before = fsspec.filesystem("file", encore="before")
    elsewhere: list[Any] = []
    thread = threading.Thread(target=lambda: elsewhere.append(fsspec.filesystem("file", encore="before")))
    thread.start()
    thread.join()
    observe(fsspec, event_manager=manager)
    try:
        before.exists("/")
        elsewhere[0].exists("/")
    finally:
        unobserve(fsspec)
    before.exists("/")

    assert len(by_store(recorder)) == 2
    assert type(before) is type(elsewhere[0]) is LocalFileSystem


def test_unobserved_library_has_no_trace(manager: EventManager) -> None:
    call = _Cached.__call__
    observe(fsspec, event_manager=manager)
    observe(fsspec, event_manager=manager)
    made = make()
    own = observe(make(), event_manager=manager)
    unobserve(fsspec)

    assert _Cached.__call__ is call
    assert type(made) is MemoryFileSystem
    assert type(make()) is MemoryFileSystem
    assert options_of(own) is not None
    unobserve(own)


def test_file_system_unobserved_by_itself_stays_so(library: None, recorder: EventRecorder) -> None:
    fs = fsspec.filesystem("memory")
    unobserve(fs)
    fsspec.filesystem("memory").exists("/a")

    assert by_store(recorder) == []


def test_options_of_one_file_system_win_over_those_of_the_library(
    library: None, manager: EventManager, recorder: EventRecorder
) -> None:
    observe(make(), name="mine", event_manager=manager).exists("/a")

    assert by_store(recorder)[0][0] == "mine"


def test_local_files_that_another_file_system_moves_are_part_of_its_operation(
    library: None, recorder: EventRecorder, tmp_path: Path
) -> None:
    fs = make()
    fs.pipe("/a", b"12345")
    fs.get("/a", str(tmp_path / "a"))
    fs.put(str(tmp_path), "/all", recursive=True)

    assert by_store(recorder) == [
        ("memory", "set", "/a", 5),
        ("memory", "get", "/a", 5),
        ("memory", "set", "/all", 5),
    ]


def test_observing_the_library_keeps_no_file_system(library: None) -> None:
    fs = make()
    reference = weakref.ref(fs)
    del fs
    gc.collect()

    assert reference() is None


def test_library_is_observed_when_it_is_imported_later() -> None:
    program = """
from encore_events import get_event_manager
from encore_storage import observe
from encore_storage.events import StoreProgressEndEvent
import sys
observe()
assert "fsspec" not in sys.modules
get_event_manager().connect(StoreProgressEndEvent, lambda event: print(event.store, event.operation, event.bytes))
import fsspec
fsspec.filesystem("memory").pipe("/a", b"12")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split("\n") == ["memory set 2", ""]
