"""Copies with failures of the source or the target."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyJob, CopyReport
from encore_storage.errors import IntegrityError, StoreFullError
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent, StoreTransactionEndEvent
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.transactions.writing import Change
from encore_storage.value import Entry
from tests.cli.support import write

FILES = {key: f"value of {key}".encode() for key in "abcde"}
KEYS = list(FILES)


class BrokenStore(DictMemoryStore):
    """A store that fails in the middle of the value under 'c'."""

    error: BaseException = OSError("bad sector")

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        yield from super()._open(key, entry, start, 5 if key == "c" else end)
        if key == "c":
            raise self.error


class FullStore(DictMemoryStore):
    """A store without room from key 'd' on."""

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        if key >= "d":
            raise StoreFullError("no room left")
        return super()._put(key, chunks, metadata)


class WrongStore(DictMemoryStore):
    """A store that stores wrong bytes under 'c'."""

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        return super()._put(key, [b"value of X"] if key == "c" else chunks, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "source", FILES)


@pytest.fixture
def source(folder: Path, manager: EventManager) -> FileSystemStore:
    return FileSystemStore(folder, name="source", event_manager=manager)


@pytest.fixture(params=["memory", "filesystem", "sqlite"])
def target(request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager) -> Iterator[AbstractStore]:
    options: dict[str, Any] = {"name": "target", "event_manager": manager}
    stores: dict[str, Callable[[], AbstractStore]] = {
        "memory": lambda: DictMemoryStore(**options),
        "filesystem": lambda: FileSystemStore(tmp_path / "target", **options),
        "sqlite": lambda: SqliteStore(tmp_path / "target.db", **options),
    }
    with stores[request.param]() as store:
        yield store


def fill(store: AbstractStore, keys: Iterable[str] = FILES) -> AbstractStore:
    for key in keys:
        store.from_bytes(key, FILES.get(key, b"any"))
    return store


def job(source: AbstractStore, target: AbstractStore, *, size: int = 2, verify: bool = False) -> CopyJob:
    return CopyJob(source, target, transaction_size=size, verify=verify)


def report(source: AbstractStore, target: AbstractStore, keys: list[str] = KEYS, **options: Any) -> CopyReport:
    """Run a copy that fails for some keys, and return its report."""
    copying = job(source, target, **options)
    copying.run(keys)
    assert not copying.report.is_complete
    return copying.report


def before(manager: EventManager, operation: str, key: str, act: Callable[[], object]) -> None:
    """Call `act` when the source starts the operation on the key."""
    wanted = {"store": "source", "operation": operation, "key": key}
    manager.connect(StoreProgressStartEvent, lambda event: act(), wanted)


def after_set(manager: EventManager, key: str, act: Callable[[], object]) -> None:
    """Call `act` when the target has set the key."""
    wanted = {"store": "target", "operation": "set", "key": key}
    manager.connect(StoreProgressEndEvent, lambda event: act(), wanted)


class TestSource:
    """Keys that cannot be read from the source fail; the others are copied."""

    def test_missing_key_fails(self, source: FileSystemStore, target: AbstractStore) -> None:
        result = report(source, target, ["a", "x", "b"])

        assert result.failed == {"x": "no value under key 'x' in store 'source'"}
        assert (result.total, result.up_to_date) == (3, 2)
        assert set(target.query_keys()) == {"a", "b"}

    @pytest.mark.parametrize("operation", ["get_metadata", "get"])
    def test_deleted_file_fails(
        self, source: FileSystemStore, folder: Path, target: AbstractStore, manager: EventManager, operation: str
    ) -> None:
        before(manager, operation, "c", (folder / "c").unlink)

        result = report(source, target)

        assert list(result.failed) == ["c"]
        assert "in store 'source'" in result.failed["c"]
        assert set(target.query_keys()) == {"a", "b", "d", "e"}

    def test_changed_file_fails(
        self, source: FileSystemStore, folder: Path, target: AbstractStore, manager: EventManager
    ) -> None:
        before(manager, "get", "c", lambda: (folder / "c").write_bytes(b"something else"))

        result = report(source, target)

        assert "was replaced while it was being read" in result.failed["c"]
        assert set(target.query_keys()) == {"a", "b", "d", "e"}

    def test_partly_readable_value_keeps_the_old_one(self, target: AbstractStore, manager: EventManager) -> None:
        target.from_bytes("c", b"old")

        result = report(fill(BrokenStore(name="source", event_manager=manager)), target)

        assert result.failed == {"c": "bad sector"}
        assert result.copied == 4
        assert target.to_bytes("c") == b"old"

    def test_previously_copied_value_that_is_unreadable_fails(
        self, target: AbstractStore, manager: EventManager
    ) -> None:
        result = report(fill(BrokenStore(name="source", event_manager=manager)), fill(target), verify=True)

        assert result == CopyReport(total=5, skipped=4, failed={"c": "bad sector"})

    def test_key_added_later_completes_the_copy(self, source: FileSystemStore, target: AbstractStore) -> None:
        report(source, target, [*KEYS, "f"])
        fill(source, ["f"])

        again = job(source, target)
        again.run([*KEYS, "f"])

        assert again.report == CopyReport(total=6, copied=1, skipped=5)


class TestTarget:
    """Keys that the target cannot hold fail; a failing target ends the copy."""

    @pytest.mark.parametrize("keys", [["a", "a/b", "c"], ["a/b", "a", "c"]])
    def test_key_that_is_file_and_directory_fails(self, manager: EventManager, tmp_path: Path, keys: list[str]) -> None:
        source = fill(DictMemoryStore(name="source", event_manager=manager), keys)
        target = FileSystemStore(tmp_path / "target", event_manager=manager)

        result = report(source, target, keys)

        assert list(result.failed) == [keys[1]]
        assert f"{keys[1]!r} cannot be a key" in result.failed[keys[1]]
        assert set(target.query_keys()) == {keys[0], "c"}

    @pytest.mark.parametrize("key", ["x" * 256, "../x", "x//y", ".encore/x", "x\0"])
    def test_invalid_file_name_fails(self, manager: EventManager, tmp_path: Path, key: str) -> None:
        source = fill(DictMemoryStore(name="source", event_manager=manager), ["a", key, "b"])
        target = FileSystemStore(tmp_path / "target", event_manager=manager)

        result = report(source, target, ["a", key, "b"])

        assert list(result.failed) == [key]
        assert set(target.query_keys()) == {"a", "b"}

    def test_undecodable_file_name_fails(self, source: FileSystemStore, tmp_path: Path, manager: EventManager) -> None:
        Path(os.fsdecode(os.fsencode(source.path) + b"/\xff")).write_bytes(b"1")

        with SqliteStore(tmp_path / "target.db", event_manager=manager) as target:
            result = report(source, target, sorted(source.query_keys()))

            assert list(result.failed) == ["\udcff"]
            assert set(target.query_keys()) == set(FILES)

    def test_failing_target_rolls_back_only_the_open_batch(
        self, source: FileSystemStore, manager: EventManager, recorder: EventRecorder
    ) -> None:
        target = FullStore(name="target", event_manager=manager)
        copying = job(source, target)

        with pytest.raises(StoreFullError, match="no room left"):
            copying.run(KEYS)

        assert set(target.query_keys()) == {"a", "b"}
        assert copying.report == CopyReport(total=5, copied=2)
        assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["committed", "rolled_back"]

    def test_failing_target_is_not_a_source_failure(
        self, source: FileSystemStore, folder: Path, manager: EventManager
    ) -> None:
        (folder / "a").unlink()
        copying = job(source, FullStore(event_manager=manager))

        with pytest.raises(StoreFullError):
            copying.run(KEYS)

        assert list(copying.report.failed) == ["a"]

    def test_interrupt_rolls_back_the_open_batch(
        self, source: FileSystemStore, manager: EventManager, recorder: EventRecorder
    ) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        target = DictMemoryStore(name="target", event_manager=manager)
        after_set(manager, "d", interrupt)
        copying = job(source, target)

        with pytest.raises(KeyboardInterrupt):
            copying.run(KEYS)

        assert set(target.query_keys()) == {"a", "b"}
        assert copying.report == CopyReport(total=5, copied=2)
        assert recorder.of(StoreTransactionEndEvent)[-1].outcome == "rolled_back"

    def test_interrupt_after_the_commit_counts_the_batch(self, source: FileSystemStore, manager: EventManager) -> None:
        def interrupt(event: StoreTransactionEndEvent) -> None:
            raise KeyboardInterrupt

        target = DictMemoryStore(name="target", event_manager=manager)
        manager.connect(StoreTransactionEndEvent, interrupt)
        copying = job(source, target)

        with pytest.raises(KeyboardInterrupt):
            copying.run(KEYS)

        assert set(target.query_keys()) == {"a", "b"}
        assert copying.report == CopyReport(total=5, copied=2)


class TestVerify:
    """Copied values are read back and compared."""

    def test_changed_bytes_fail(self, source: FileSystemStore, manager: EventManager) -> None:
        result = report(source, WrongStore(event_manager=manager), verify=True)

        assert result == CopyReport(total=5, copied=4, failed={"c": "the bytes in the target differ from the source"})

    def test_changed_bytes_pass_without_verify(self, source: FileSystemStore, manager: EventManager) -> None:
        copying = job(source, WrongStore(event_manager=manager))
        copying.run(KEYS)

        assert copying.report.is_complete

    @pytest.mark.parametrize(
        "spoil", [lambda path: path.write_bytes(b"value of X"), Path.unlink], ids=["changed", "deleted"]
    )
    def test_file_changed_by_another_program_fails(
        self, source: FileSystemStore, tmp_path: Path, manager: EventManager, spoil: Callable[[Path], object]
    ) -> None:
        target = FileSystemStore(tmp_path / "target", name="target", event_manager=manager)
        after_set(manager, "c", lambda: spoil(tmp_path / "target" / "c"))

        result = report(source, target, verify=True)

        assert result.failed == {"c": "the bytes in the target differ from the source"}
        assert result.copied == 4

    def test_unreadable_copy_fails(self, source: FileSystemStore, manager: EventManager) -> None:
        target = BrokenStore(event_manager=manager)
        target.error = IntegrityError("the bytes are not what was written")

        result = report(source, target, verify=True)

        assert result == CopyReport(total=5, copied=4, failed={"c": "the bytes in the target differ from the source"})

    def test_unreadable_earlier_copy_is_copied_again(self, source: FileSystemStore, manager: EventManager) -> None:
        target = BrokenStore(event_manager=manager)
        fill(target)

        result = report(source, target, verify=True)

        assert (result.skipped, list(result.failed)) == (4, ["c"])

    def test_value_unreadable_on_both_sides_fails(self, manager: EventManager) -> None:
        source, target = (fill(BrokenStore(name=name, event_manager=manager)) for name in ("source", "target"))

        result = report(source, target, verify=True)

        assert result == CopyReport(total=5, skipped=4, failed={"c": "bad sector"})

    def test_each_value_is_read_back_once(
        self, source: FileSystemStore, target: AbstractStore, recorder: EventRecorder
    ) -> None:
        job(source, target, verify=True).run(KEYS)

        ends = recorder.of(StoreProgressEndEvent)
        read_back = [event.key for event in ends if (event.store, event.operation) == ("target", "get")]
        assert read_back == KEYS
