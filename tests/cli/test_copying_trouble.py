"""A copy of which something goes wrong: the source, the target, or what lies between them."""

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


class SickStore(DictMemoryStore):
    """It gives the first bytes of the value under 'c', and then fails."""

    error: BaseException = OSError("bad sector")

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        yield from super()._open(key, entry, start, 5 if key == "c" else end)
        if key == "c":
            raise self.error


class FullStore(DictMemoryStore):
    """It has room for the values up to 'd'."""

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        if key >= "d":
            raise StoreFullError("no room left")
        return super()._put(key, chunks, metadata)


class LyingStore(DictMemoryStore):
    """It keeps other bytes under 'c' than it got."""

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


def filled(store: AbstractStore, keys: Iterable[str] = FILES) -> AbstractStore:
    for key in keys:
        store.from_bytes(key, FILES.get(key, b"any"))
    return store


def job(source: AbstractStore, target: AbstractStore, *, size: int = 2, verify: bool = False) -> CopyJob:
    return CopyJob(source, target, transaction_size=size, verify=verify)


def report(source: AbstractStore, target: AbstractStore, keys: list[str] = KEYS, **options: Any) -> CopyReport:
    """The report of a copy that comes to its end."""
    copying = job(source, target, **options)
    copying.run(keys)
    assert not copying.report.is_complete
    return copying.report


def before(manager: EventManager, operation: str, key: str, act: Callable[[], object]) -> None:
    """Do something when the store called source is about to do something with the key."""
    wanted = {"store": "source", "operation": operation, "key": key}
    manager.connect(StoreProgressStartEvent, lambda event: act(), wanted)


def after_set(manager: EventManager, key: str, act: Callable[[], object]) -> None:
    """Do something when the store called target has taken the key."""
    wanted = {"store": "target", "operation": "set", "key": key}
    manager.connect(StoreProgressEndEvent, lambda event: act(), wanted)


class TestSource:
    """A key that the source can't give is told as failed, and the others arrive."""

    def test_a_key_that_is_missing(self, source: FileSystemStore, target: AbstractStore) -> None:
        told = report(source, target, ["a", "x", "b"])

        assert told.failed == {"x": "no value under key 'x' in store 'source'"}
        assert (told.total, told.arrived) == (3, 2)
        assert set(target.query_keys()) == {"a", "b"}

    @pytest.mark.parametrize("operation", ["get_metadata", "get"])
    def test_a_file_that_goes(
        self, source: FileSystemStore, folder: Path, target: AbstractStore, manager: EventManager, operation: str
    ) -> None:
        before(manager, operation, "c", (folder / "c").unlink)

        told = report(source, target)

        assert list(told.failed) == ["c"]
        assert "in store 'source'" in told.failed["c"]
        assert set(target.query_keys()) == {"a", "b", "d", "e"}

    def test_a_file_that_is_changed(
        self, source: FileSystemStore, folder: Path, target: AbstractStore, manager: EventManager
    ) -> None:
        before(manager, "get", "c", lambda: (folder / "c").write_bytes(b"something else"))

        told = report(source, target)

        assert "was replaced while it was being read" in told.failed["c"]
        assert set(target.query_keys()) == {"a", "b", "d", "e"}

    def test_a_value_that_can_be_read_in_part_leaves_the_old_one(
        self, target: AbstractStore, manager: EventManager
    ) -> None:
        target.from_bytes("c", b"old")

        told = report(filled(SickStore(name="source", event_manager=manager)), target)

        assert told.failed == {"c": "bad sector"}
        assert told.copied == 4
        assert target.to_bytes("c") == b"old"

    def test_a_value_that_came_before_and_can_be_read_no_more(
        self, target: AbstractStore, manager: EventManager
    ) -> None:
        told = report(filled(SickStore(name="source", event_manager=manager)), filled(target), verify=True)

        assert told == CopyReport(total=5, skipped=4, failed={"c": "bad sector"})

    def test_the_copy_of_what_the_source_gives_later_finishes(
        self, source: FileSystemStore, target: AbstractStore
    ) -> None:
        report(source, target, [*KEYS, "f"])
        filled(source, ["f"])

        again = job(source, target)
        again.run([*KEYS, "f"])

        assert again.report == CopyReport(total=6, copied=1, skipped=5)


class TestTarget:
    """A key that the target can't hold is told as failed; a target that fails ends the copy."""

    @pytest.mark.parametrize("keys", [["a", "a/b", "c"], ["a/b", "a", "c"]])
    def test_a_file_and_a_directory_of_one_name(self, manager: EventManager, tmp_path: Path, keys: list[str]) -> None:
        source = filled(DictMemoryStore(name="source", event_manager=manager), keys)
        target = FileSystemStore(tmp_path / "target", event_manager=manager)

        told = report(source, target, keys)

        assert list(told.failed) == [keys[1]]
        assert f"{keys[1]!r} cannot be a key" in told.failed[keys[1]]
        assert set(target.query_keys()) == {keys[0], "c"}

    @pytest.mark.parametrize("key", ["x" * 256, "../x", "x//y", ".encore/x", "x\0"])
    def test_what_can_be_no_file_name(self, manager: EventManager, tmp_path: Path, key: str) -> None:
        source = filled(DictMemoryStore(name="source", event_manager=manager), ["a", key, "b"])
        target = FileSystemStore(tmp_path / "target", event_manager=manager)

        told = report(source, target, ["a", key, "b"])

        assert list(told.failed) == [key]
        assert set(target.query_keys()) == {"a", "b"}

    def test_a_file_name_that_is_no_text(self, source: FileSystemStore, tmp_path: Path, manager: EventManager) -> None:
        Path(os.fsdecode(os.fsencode(source.path) + b"/\xff")).write_bytes(b"1")

        with SqliteStore(tmp_path / "target.db", event_manager=manager) as target:
            told = report(source, target, sorted(source.query_keys()))

            assert list(told.failed) == ["\udcff"]
            assert set(target.query_keys()) == set(FILES)

    def test_one_that_fails_rolls_the_open_batch_back_and_keeps_the_earlier_ones(
        self, source: FileSystemStore, manager: EventManager, recorder: EventRecorder
    ) -> None:
        target = FullStore(name="target", event_manager=manager)
        copying = job(source, target)

        with pytest.raises(StoreFullError, match="no room left"):
            copying.run(KEYS)

        assert set(target.query_keys()) == {"a", "b"}
        assert copying.report == CopyReport(total=5, copied=2)
        assert [event.outcome for event in recorder.of(StoreTransactionEndEvent)] == ["committed", "rolled_back"]

    def test_one_that_fails_is_not_blamed_on_the_source(
        self, source: FileSystemStore, folder: Path, manager: EventManager
    ) -> None:
        (folder / "a").unlink()
        copying = job(source, FullStore(event_manager=manager))

        with pytest.raises(StoreFullError):
            copying.run(KEYS)

        assert list(copying.report.failed) == ["a"]

    def test_an_interrupt_rolls_the_open_batch_back(
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

    def test_an_interrupt_right_after_the_commit_leaves_the_batch_there_and_says_so(
        self, source: FileSystemStore, manager: EventManager
    ) -> None:
        def interrupt(event: StoreTransactionEndEvent) -> None:
            raise KeyboardInterrupt

        target = DictMemoryStore(name="target", event_manager=manager)
        manager.connect(StoreTransactionEndEvent, interrupt)
        copying = job(source, target)

        with pytest.raises(KeyboardInterrupt):
            copying.run(KEYS)

        assert set(target.query_keys()) == {"a", "b"}
        assert copying.report == CopyReport(total=5, copied=2)


class TestVerifying:
    """What arrived is read back, and compared with what was read."""

    def test_other_bytes_are_told_as_failed(self, source: FileSystemStore, manager: EventManager) -> None:
        told = report(source, LyingStore(event_manager=manager), verify=True)

        assert told == CopyReport(total=5, copied=4, failed={"c": "what arrived is not what was read"})

    def test_without_it_they_are_not_noticed(self, source: FileSystemStore, manager: EventManager) -> None:
        copying = job(source, LyingStore(event_manager=manager))
        copying.run(KEYS)

        assert copying.report.is_complete

    @pytest.mark.parametrize(
        "spoil", [lambda path: path.write_bytes(b"value of X"), Path.unlink], ids=["other bytes", "none"]
    )
    def test_a_file_that_another_program_spoils_is_told_as_failed(
        self, source: FileSystemStore, tmp_path: Path, manager: EventManager, spoil: Callable[[Path], object]
    ) -> None:
        target = FileSystemStore(tmp_path / "target", name="target", event_manager=manager)
        after_set(manager, "c", lambda: spoil(tmp_path / "target" / "c"))

        told = report(source, target, verify=True)

        assert told.failed == {"c": "what arrived is not what was read"}
        assert told.copied == 4

    def test_a_value_that_cannot_be_read_back_is_told_as_failed(
        self, source: FileSystemStore, manager: EventManager
    ) -> None:
        target = SickStore(event_manager=manager)
        target.error = IntegrityError("the bytes are not what was written")

        told = report(source, target, verify=True)

        assert told == CopyReport(total=5, copied=4, failed={"c": "what arrived is not what was read"})

    def test_one_that_came_before_and_cannot_be_read_back_is_copied_again(
        self, source: FileSystemStore, manager: EventManager
    ) -> None:
        target = SickStore(event_manager=manager)
        filled(target)

        told = report(source, target, verify=True)

        assert (told.skipped, list(told.failed)) == (4, ["c"])

    def test_one_that_neither_can_give_is_not_taken_for_the_same(self, manager: EventManager) -> None:
        source, target = (filled(SickStore(name=name, event_manager=manager)) for name in ("source", "target"))

        told = report(source, target, verify=True)

        assert told == CopyReport(total=5, skipped=4, failed={"c": "bad sector"})

    def test_every_value_is_read_back_once(
        self, source: FileSystemStore, target: AbstractStore, recorder: EventRecorder
    ) -> None:
        job(source, target, verify=True).run(KEYS)

        ends = recorder.of(StoreProgressEndEvent)
        read_back = [event.key for event in ends if (event.store, event.operation) == ("target", "get")]
        assert read_back == KEYS
