"""Observed file systems of fsspec: what each method emits, and what observing leaves unchanged."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import pickle
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
)
from encore_storage.observing import StoreProgressManager
from tests.clients.fsspec_support import changes, check, ends, make
from tests.forking import forked
from tests.storage.support import settled


@pytest.fixture
def fs(manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    """Yield an observed file system in memory with one file."""
    fs = make()
    fs.pipe("/a", b"12345")
    yield observe(fs, event_manager=manager)
    unobserve(fs)


@pytest.fixture
def local(manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    local = LocalFileSystem(skip_instance_cache=True)
    yield observe(local, event_manager=manager)
    unobserve(local)


def run(call: str, fs: Any) -> Any:
    """Evaluate the call, which is the id of the test as well."""
    return eval(call, {"fs": fs})


@pytest.mark.parametrize(
    ("call", "expected", "end"),
    [
        ('fs.cat("/a")', b"12345", ("get", "/a", "ok", 5, None)),
        ('fs.cat_file("/a")', b"12345", ("get", "/a", "ok", 5, None)),
        ('fs.cat_file(path="/a")', b"12345", ("get", "/a", "ok", 5, None)),
        ('fs.cat_file("memory:///a")', b"12345", ("get", "/a", "ok", 5, None)),
        ('fs.cat_file("/a", 1, 3)', b"23", ("get_range", "/a", "ok", 2, None)),
        ('fs.cat_file("/a", end=-1)', b"1234", ("get_range", "/a", "ok", 4, None)),
        ('fs.read_bytes("/a")', b"12345", ("get", "/a", "ok", 5, None)),
        ('fs.cat(["/a", "/a"])', {"/a": b"12345"}, ("get", None, "ok", 5, 1)),
        ('fs.cat_ranges(["/a", "/a"], 0, [1, 2])', [b"1", b"12"], ("get_range", None, "ok", 3, 2)),
        ('fs.head("/a", 2)', b"12", ("get_range", "/a", "ok", 2, None)),
        ('fs.tail("/a", 2)', b"45", ("get_range", "/a", "ok", 2, None)),
        ('fs.read_block("/a", 1, 2)', b"23", ("get_range", "/a", "ok", 2, None)),
        ('fs.read_text("/a")', "12345", ("get", "/a", "ok", 5, None)),
        ('fs.exists("/a")', True, ("exists", "/a", "ok", 0, None)),
        ('fs.exists("/b")', False, ("exists", "/b", "ok", 0, None)),
        ('fs.isfile("/a")', True, ("exists", "/a", "ok", 0, None)),
        ('fs.isdir("/a")', False, ("exists", "/a", "ok", 0, None)),
        ('fs.size("/a")', 5, ("get_metadata", "/a", "ok", 0, None)),
        ('fs.stat("/a")["size"]', 5, ("get_metadata", "/a", "ok", 0, None)),
        ('fs.sizes(["/a"])', [5], ("get_metadata", None, "ok", 0, 1)),
        ('fs.ls("/", detail=False)', ["/a"], ("list", "/", "ok", 0, 1)),
        ('fs.find("/")', ["/a"], ("list", "/", "ok", 0, 1)),
        ('fs.glob("/*")', ["/a"], ("list", "/*", "ok", 0, 1)),
        ('fs.du("/")', 5, ("list", "/", "ok", 0, None)),
        ('list(fs.walk("/"))', [("", [], ["a"])], ("list", "/", "ok", 0, 1)),
        ('fs.mkdir("/d")', None, ("execute", "/d", "ok", 0, None)),
    ],
)
def test_reading_method_is_one_operation(
    fs: Any, recorder: EventRecorder, call: str, expected: Any, end: tuple[Any, ...]
) -> None:
    assert run(call, fs) == expected

    assert ends(recorder) == [end]
    assert changes(recorder) == []
    check(recorder)


@pytest.mark.parametrize(
    ("call", "end", "changed"),
    [
        ('fs.pipe("/b", b"12")', ("set", "/b", "ok", 2, None), [("set", "/b")]),
        ('fs.pipe_file("/b", b"12")', ("set", "/b", "ok", 2, None), [("set", "/b")]),
        ('fs.write_bytes("/b", b"12")', ("set", "/b", "ok", 2, None), [("set", "/b")]),
        ('fs.write_text("/b", "ü")', ("set", "/b", "ok", 2, None), [("set", "/b")]),
        ('fs.touch("/b")', ("set", "/b", "ok", 0, None), [("set", "/b")]),
        (
            'fs.pipe({"/b": b"1", "/c": memoryview(b"23")})',
            ("set", None, "ok", 3, 2),
            [("set", "/b"), ("set", "/c")],
        ),
        ('fs.rm("/a")', ("delete", "/a", "ok", 0, None), [("delete", "/a")]),
        ('fs.rm_file("/a")', ("delete", "/a", "ok", 0, None), [("delete", "/a")]),
        ('fs.copy("/a", "/b")', ("copy", "/b", "ok", 0, None), [("set", "/b")]),
        ('fs.cp_file("/a", "/b")', ("copy", "/b", "ok", 0, None), [("set", "/b")]),
        ('fs.mv("/a", "/b")', ("move", "/b", "ok", 0, None), [("set", "/b"), ("delete", "/a")]),
        ('fs.rename("/a", "/b")', ("move", "/b", "ok", 0, None), [("set", "/b"), ("delete", "/a")]),
    ],
)
def test_writing_method_is_one_operation_and_changes_keys(
    fs: Any, recorder: EventRecorder, call: str, end: tuple[Any, ...], changed: list[tuple[str, str]]
) -> None:
    run(call, fs)

    assert ends(recorder) == [end]
    assert changes(recorder) == changed
    check(recorder)


@pytest.mark.parametrize(
    ("call", "operation", "outcome", "error_type"),
    [
        ('fs.cat("/zz")', "get", "miss", "not_found"),
        ('fs.open("/zz")', "get", "miss", "not_found"),
        ('fs.info("/zz")', "get_metadata", "miss", "not_found"),
        ('fs.ls("/zz")', "list", "miss", "not_found"),
        ('fs.open("/zz", "r")', "get", "miss", "not_found"),
        ('fs.put("/no/such/file", "/b")', "set", "error", "not_found"),
        ('fs.open("/a", "q")', "set", "error", "invalid"),
        ('fs.mkdir("/a")', "execute", "error", "conflict"),
        ('fs.pipe_file("/a", b"", mode="create")', "set", "error", "conflict"),
    ],
)
def test_failing_method_ends_with_a_stand_in_for_its_error(
    fs: Any, recorder: EventRecorder, call: str, operation: str, outcome: str, error_type: str
) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 (many)
        run(call, fs)

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.outcome, end.error_type) == (operation, outcome, error_type)
    assert end.error is not raised.value
    assert str(end.error) == type(end.error).__name__ == type(raised.value).__name__
    assert changes(recorder) == []
    check(recorder)


def test_text_of_errors_is_emitted_on_request(manager: EventManager, recorder: EventRecorder) -> None:
    fs = observe(make(), event_manager=manager, error_text=True)
    with pytest.raises(FileNotFoundError, match="/zz"):
        fs.cat("/zz")

    assert "/zz" in str(recorder.one(StoreProgressEndEvent).error)


def test_interrupted_call_is_cancelled(fs: Any, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryFileSystem, "isfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fs.rm("/a")

    assert ends(recorder) == [("delete", "/a", "cancelled", 0, None)]


def test_failed_call_counts_the_files_that_were_done(fs: Any, recorder: EventRecorder) -> None:
    with pytest.raises(IsADirectoryError):
        fs.mkdir("/d")
        fs.pipe({"/b": b"12", "/d": b"3"})

    assert ends(recorder)[-1] == ("set", None, "error", 2, None)
    assert changes(recorder) == [("set", "/b")]


def test_results_of_files_that_failed_are_not_counted(fs: Any, recorder: EventRecorder) -> None:
    found = fs.cat(["/a", "/zz"], on_error="return")

    assert isinstance(found["/zz"], FileNotFoundError)
    assert ends(recorder) == [("get", None, "ok", 5, 1)]


def test_getting_and_putting_count_the_bytes_of_local_files(fs: Any, recorder: EventRecorder, tmp_path: Path) -> None:
    fs.get("/a", str(tmp_path / "a"))
    fs.put(str(tmp_path / "a"), "/b")
    fs.get_file("/a", tmp_path / "c")
    fs.download("/a", str(tmp_path / "d"))
    fs.put_file(tmp_path / "c", "/c")
    fs.upload(str(tmp_path), "/all", recursive=True)
    fs.get("/all", str(tmp_path / "again"), recursive=True)

    assert [end[:1] + end[3:] for end in ends(recorder)] == [
        ("get", 5, None),
        ("set", 5, None),
        ("get", 5, None),
        ("get", 5, None),
        ("set", 5, None),
        ("set", 15, 3),
        ("get", 15, 3),
    ]
    keys = [("set", "/b"), ("set", "/c"), ("set", "/all/a"), ("set", "/all/c"), ("set", "/all/d")]
    assert changes(recorder) == keys
    check(recorder)


def test_getting_into_a_file_object_counts_what_was_written(fs: Any, recorder: EventRecorder, tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"before")
        fs.get_file("/a", file)

    assert ends(recorder) == [("get", "/a", "ok", 5, None)]


def test_local_files_are_copied_within_one_operation(local: Any, recorder: EventRecorder, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    local.get_file(str(tmp_path / "a"), str(tmp_path / "b"))
    local.put_file(str(tmp_path / "a"), str(tmp_path / "c"))
    local.mv(str(tmp_path / "c"), str(tmp_path / "d"))
    local.rm(str(tmp_path / "d"))

    assert [(end[0], end[3]) for end in ends(recorder)] == [("get", 5), ("set", 5), ("move", 0), ("delete", 0)]
    assert [(action, Path(key or "").name) for action, key in changes(recorder)] == [
        ("set", "c"),
        ("set", "d"),
        ("delete", "c"),
        ("delete", "d"),
    ]
    check(recorder)


def test_walk_ends_when_it_is_closed(fs: Any, recorder: EventRecorder) -> None:
    fs.pipe("/d/e/f", b"")
    walking = fs.walk("/")
    assert len(recorder.of(StoreProgressStartEvent)) == 1
    next(walking)
    fs.exists("/a")
    walking.close()

    assert [end[0] for end in ends(recorder)] == ["set", "exists", "list"]
    assert ends(recorder)[-1][2:] == ("ok", 0, 2)
    check(recorder)


def test_walk_that_is_collected_is_cancelled(fs: Any, recorder: EventRecorder) -> None:
    walking = fs.walk("/")
    next(walking)
    del walking
    gc.collect()
    settled()

    assert ends(recorder) == [("list", "/", "cancelled", 0, 1)]


def test_store_is_named_by_protocol(fs: Any, local: Any, recorder: EventRecorder) -> None:
    fs.exists("/a")
    local.exists("/a")

    assert [end.store for end in recorder.of(StoreProgressEndEvent)] == ["memory", "file"]


def test_name_of_the_store_can_be_given(manager: EventManager, recorder: EventRecorder) -> None:
    observe(make(), name="scratch", event_manager=manager).exists("/a")

    assert recorder.one(StoreProgressEndEvent).store == "scratch"


def test_observing_again_counts_once_with_the_new_options(
    fs: Any, manager: EventManager, recorder: EventRecorder
) -> None:
    observe(fs, event_manager=manager)
    observe(fs, name="other", event_manager=manager)
    fs.cat("/a")

    assert recorder.one(StoreProgressEndEvent).store == "other"


def test_unobserved_file_system_has_no_trace(recorder: EventRecorder, manager: EventManager) -> None:
    fs = make()
    before = dict(vars(fs))
    observe(fs, event_manager=manager)
    fs.pipe("/a", b"1")
    with fs.open("/a") as file:
        file.read()
    with fs.transaction:
        pass
    assert unobserve(fs) is fs
    fs.cat("/a")

    assert type(fs) is MemoryFileSystem
    assert vars(fs) == before
    assert type(fs.store["/a"]) is type(make().open("/b", "wb"))
    assert set(vars(fs.store["/a"])) == {"fs", "path", "created", "modified"}
    assert len(recorder.of(StoreProgressEndEvent)) == 2


def test_observed_file_system_is_unchanged(fs: Any) -> None:
    plain = make()
    observed = observe(plain)
    token = repr(plain)
    unobserve(plain)

    assert observed is plain
    assert token == repr(plain)
    assert fs.__class__ is MemoryFileSystem
    assert isinstance(fs, MemoryFileSystem)
    assert inspect.signature(fs.cat_file) == inspect.signature(plain.cat_file)
    assert fs.cat.__doc__ == plain.cat.__doc__
    assert fs.to_json() == plain.to_json()
    assert type(fs)._cache is MemoryFileSystem._cache
    assert type(fs).current() is MemoryFileSystem.current()


def test_equality_is_symmetric() -> None:
    one, other = LocalFileSystem(skip_instance_cache=True), LocalFileSystem(skip_instance_cache=True)
    assert one == other
    observe(one)
    try:
        assert one == other
        assert other == one
        assert hash(one) == hash(other)
    finally:
        unobserve(one)


def test_pickled_file_system_is_of_the_plain_class(fs: Any, manager: EventManager) -> None:
    cached = observe(LocalFileSystem(), event_manager=manager)
    try:
        assert pickle.loads(pickle.dumps(cached)) is cached
    finally:
        unobserve(cached)
    loaded = pickle.loads(pickle.dumps(fs))

    assert type(loaded) is MemoryFileSystem
    assert loaded.cat("/a") == b"12345"
    assert type(fsspec.AbstractFileSystem.from_json(json.dumps(json.loads(fs.to_json())))) is MemoryFileSystem
    assert type(copy.copy(fs)) is MemoryFileSystem


def test_subclass_of_the_program_is_observed(manager: EventManager, recorder: EventRecorder) -> None:
    class Loud(MemoryFileSystem):  # type: ignore[misc]
        protocol = "loud"

        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
            return bytes(super().cat_file(path, start, end, **kwargs)).upper()

    fs = observe(Loud(skip_instance_cache=True, global_store=False), event_manager=manager)
    fs.pipe("/a", b"abc")

    assert fs.cat("/a") == b"ABC"
    assert [(end.store, end.bytes) for end in recorder.of(StoreProgressEndEvent)] == [("loud", 3), ("loud", 3)]


def test_operations_keep_neither_file_system_nor_result_nor_error(manager: EventManager) -> None:
    kept: list[Any] = []
    manager.connect(StoreProgressEndEvent, kept.append)

    class Bytes(bytes):
        pass

    class BadError(OSError):
        pass

    class Fails(MemoryFileSystem):  # type: ignore[misc]
        def cat_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
            if path == "/error":
                raise BadError("no")
            return Bytes(b"1")

    fs = observe(Fails(skip_instance_cache=True, global_store=False), event_manager=manager)
    result = fs.cat_file("/a")
    with pytest.raises(OSError, match="no") as raised:
        fs.cat_file("/error")
    references: list[weakref.ref[Any]] = [weakref.ref(fs), weakref.ref(raised.value)]
    assert [end.bytes for end in kept] == [1, 0]
    del fs, raised, result
    gc.collect()

    assert not any(reference() for reference in references)


def test_file_open_at_a_fork_is_read_in_the_child_as_without_observing(
    local: Any, tmp_path: Path, recorder: EventRecorder, every_step: None
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with local.open(str(tmp_path / "a")) as file:
        assert file.read(1) == b"1"
        assert forked(lambda: (file.read(2), file.close())) == "(b'23', None)"

    assert ends(recorder) == [("get", str(tmp_path / "a"), "ok", 1, None)]


def test_steps_are_emitted_while_a_file_is_read(fs: Any, recorder: EventRecorder, every_step: None) -> None:
    assert StoreProgressManager.min_interval == 0
    with fs.open("/a") as file:
        while file.read(2):
            pass

    names = [type(event).__name__ for event in recorder.of(StoreProgressEvent)]
    assert names[0] == "StoreProgressStartEvent"
    assert names.count("StoreProgressStepEvent") >= 2
    check(recorder)


def test_async_methods_of_a_sync_file_system_are_observed(manager: EventManager, recorder: EventRecorder) -> None:
    inner = make()
    inner.pipe("/a", b"12345")
    fs = observe(AsyncFileSystemWrapper(inner, asynchronous=True, skip_instance_cache=True), event_manager=manager)

    assert asyncio.run(fs._cat_file("/a")) == b"12345"
    assert {end.bytes for end in recorder.of(StoreProgressEndEvent)} == {5}
