"""Tests of failures after a change took effect: the change is reported as successful, and the failure is logged."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import pair, put, store_in, unfinished

Pair = tuple[bytes, dict[str, Any]] | None

STEPS = [
    "close",
    "fchmod",
    "fstat",
    "fsync",
    "mkdir",
    "open",
    "pread",
    "pwrite",
    "replace",
    "rmdir",
    "stat",
    "unlink",
    "utime",
    "write",
]

CHANGES: dict[str, tuple[Callable[[FileSystemStore], object], Pair, str]] = {
    "set": (lambda store: put(store, "dir/key", b"new", v=2), (b"new", {"v": 2}), "replace key"),
    "set without metadata": (lambda store: put(store, "dir/key", b"new"), (b"new", {}), "replace key"),
    "set data": (lambda store: store.from_bytes("dir/key", b"new"), (b"new", {"v": 1}), "replace key"),
    "set metadata": (lambda store: store.set_metadata("dir/key", {"v": 2}), (b"old", {"v": 2}), "replace json"),
    "remove metadata": (lambda store: store.set_metadata("dir/key", {}), (b"old", {}), "unlink json"),
    "delete": (lambda store: store.delete("dir/key"), None, "unlink key"),
}


class Disk:
    """System calls that fail after a decisive call: all later ones, or the nth alone, or the decisive one itself.

    Args:
        monkeypatch: replaces the system calls.
        decisive: the name of that call, and the end of its path.
        code: the error code.
        only: the number of the one failing call; 0 for all, -1 for the decisive call, after its effect.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, decisive: str, code: int, *, only: int = 0) -> None:
        self.failed = 0
        self._calls_after = 0
        self._decisive = decisive
        self._code = code
        self._only = only
        for name in STEPS:
            monkeypatch.setattr(os, name, self._failing(name, getattr(os, name)))
        monkeypatch.setattr(fcntl, "flock", self._failing("flock", fcntl.flock))

    def _failing(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._calls_after:
                self._calls_after += 1
                if self._only in (0, self._calls_after - 1):
                    self.failed += 1
                    if name == "close":
                        function(*arguments)  # the system closes it too
                    raise OSError(self._code, os.strerror(self._code), str(arguments[0]))
            result = function(*arguments, **options)
            target = arguments[1] if name == "replace" else arguments[0]
            if not self._calls_after and f"{name} {str(target).rpartition('.')[2]}" == self._decisive:
                self._calls_after = 1
                if self._only == -1:
                    self.failed += 1
                    raise OSError(self._code, os.strerror(self._code))
            return result

        return call


class Scene:
    """A store with a value, and its events."""

    def __init__(self, root: Path, **options: Any) -> None:
        manager = EventManager()
        self.root = root
        self.store = FileSystemStore(root, event_manager=manager, **options)
        put(self.store, "dir/key", b"old", v=1)
        self.changes = EventRecorder(manager, StoreModificationEvent)
        self.ends = EventRecorder(manager, StoreProgressEndEvent)

    def check(self, expected: Pair) -> None:
        """Check that the change took effect, was reported, and is seen by all readers."""
        assert [event.outcome for event in self.ends.of(StoreProgressEndEvent)] == ["ok"]
        (change,) = self.changes.of(StoreModificationEvent)
        assert change.key == "dir/key"
        for store in (self.store, store_in(self.root)):
            found = pair(store, "dir/key") if store.exists("dir/key") else None
            assert found == expected
        if expected is None:  # the metadata of the deleted value must not come back
            (self.root / "dir").mkdir(exist_ok=True)
            (self.root / "dir" / "key").write_bytes(b"from another program")
            assert pair(self.store, "dir/key") == (b"from another program", {})
            (self.root / "dir" / "key").unlink()
            self.store.from_bytes("dir/key", b"again")
            assert pair(self.store, "dir/key") == (b"again", {})
        put(self.store, "dir/key", b"later", v=3)
        assert pair(store_in(self.root), "dir/key") == (b"later", {"v": 3})
        assert unfinished(self.root) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("durable", [False, True], ids=["", "durable"])
@pytest.mark.parametrize("name", CHANGES)
def test_change_is_reported_if_all_later_steps_fail(
    root: Path, name: str, durable: bool, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    call, expected, decisive = CHANGES[name]
    scene = Scene(root, durable=durable)

    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, decisive, code)
        call(scene.store)

    assert disk.failed > 0
    if durable or name in ("set", "set without metadata", "delete"):
        assert any(str(root) in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} <= {"encore_storage"}
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
    scene.check(expected)


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_reported_if_any_later_step_fails(folder: Path, name: str) -> None:
    call, expected, decisive = CHANGES[name]

    for number in range(1, 200):
        scene = Scene(folder / str(number), durable=True)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, decisive, errno.EIO, only=number)
            call(scene.store)
        scene.check(expected)
        if not disk.failed:
            break

    assert 3 < number < 199


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_reported_if_its_own_call_fails_after_its_effect(root: Path, name: str) -> None:
    call, expected, decisive = CHANGES[name]
    scene = Scene(root)

    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, decisive, errno.EIO, only=-1)
        call(scene.store)

    assert disk.failed == 1
    scene.check(expected)


@pytest.mark.parametrize("name", CHANGES)
def test_failure_before_the_change_is_raised_and_changes_nothing(folder: Path, name: str) -> None:
    call, new, _ = CHANGES[name]
    raised = 0

    for number in range(1, 200):
        scene = Scene(folder / str(number), durable=True)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, "", errno.EIO, only=number)
            disk._calls_after = 1
            try:
                call(scene.store)
            except OSError:
                raised += 1
                is_changed = False
            else:
                is_changed = True
        assert len(scene.changes.events) == is_changed
        found = pair(scene.store, "dir/key") if scene.store.exists("dir/key") else None
        assert found == (new if is_changed else (b"old", {"v": 1})), number
        put(scene.store, "dir/key", b"later", v=3)
        store_in(scene.root)
        assert unfinished(scene.root) == [], number
        if not disk.failed:
            break

    assert raised > 5
    assert number < 199


def test_failing_log_handler_does_not_affect_the_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ConnectionError("the log server is gone")

    shown = list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", shown.append)
    handler = Broken()
    logging.getLogger("encore_storage").addHandler(handler)
    scene = Scene(root)
    try:
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, "replace key", errno.ENOSPC)
            put(scene.store, "dir/key", b"new", v=2)
    finally:
        logging.getLogger("encore_storage").removeHandler(handler)

    scene.check((b"new", {"v": 2}))
    assert {one.exc_type for one in shown} == {ConnectionError}


def test_value_can_be_deleted_on_a_full_disk(
    root: Path, store: FileSystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"1", v=1)

    def full(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "pwrite", full)
        store.delete("a")

    assert not store.exists("a")
    store.from_bytes("a", b"2")
    assert pair(store, "a") == (b"2", {})


def test_delete_of_a_value_deleted_meanwhile_raises_key_not_found_error(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    unlink = os.unlink

    def unlink_first(*arguments: Any, **options: Any) -> None:
        if arguments[0] == "a":
            unlink(*arguments, **options)
        unlink(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", unlink_first)
        with pytest.raises(KeyNotFoundError):
            store.delete("a")

    assert unfinished(root) == []


def test_metadata_file_that_cannot_be_removed_is_emptied(root: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", v=1)
    (file,) = (root / ".encore" / "metadata").iterdir()
    unlink = os.unlink

    def refuse(name: str, **options: Any) -> None:
        if name.endswith(".json"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(name, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        store.delete("a")
        store.from_bytes("a", b"2")
        assert pair(store, "a") == (b"2", {})

    assert json.loads(file.read_bytes()) == {"key": "a", "metadata": {}}
