"""Copies between real stores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encore_events import EventManager, ProgressEndEvent, ProgressEvent, ProgressStartEvent, ProgressStepEvent
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyJob, CopyReport
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from tests.cli.copies import MakeStore, copy
from tests.storage.support import STORES, put

KEYS = ["a", "b", "c", "d", "e"]
LARGE = bytes(range(256)) * 10_000


@pytest.fixture
def source(manager: EventManager) -> DictMemoryStore:
    store = DictMemoryStore(name="source", event_manager=manager)
    for key in KEYS:
        put(store, key, f"value of {key}".encode(), {"key": key})
    return store


@pytest.fixture
def target(manager: EventManager) -> DictMemoryStore:
    return DictMemoryStore(name="target", event_manager=manager)


def content(store: AbstractStore) -> dict[str, tuple[bytes, Metadata]]:
    return {key: (store.to_bytes(key), store.get_metadata(key)) for key in sorted(store.query_keys())}


def operations(recorder: EventRecorder, store: str, operation: str) -> list[StoreProgressEndEvent]:
    """Return the ended operations of that name."""
    ends = recorder.of(StoreProgressEndEvent)
    return [event for event in ends if (event.store, event.operation) == (store, operation)]


@pytest.mark.parametrize("verify", [False, True], ids=["plain", "verify"])
@pytest.mark.parametrize("to", STORES)
@pytest.mark.parametrize("from_", STORES)
def test_copy_between_stores_keeps_data_and_metadata(make_store: MakeStore, from_: str, to: str, verify: bool) -> None:
    source, target = make_store(from_, "source"), make_store(to, "target")
    put(source, "a", b"one", {"n": 1, "tags": ["x", None]})
    put(source, "b/c", LARGE)
    put(source, "empty", b"", {"empty": True})

    report = copy(source, target, verify=verify)

    assert content(target) == content(source)
    assert report == CopyReport(total=3, copied=3)
    assert report.is_complete


def test_only_given_keys_are_copied(source: DictMemoryStore, target: DictMemoryStore) -> None:
    report = copy(source, target, ["b", "d"])

    assert set(target.query_keys()) == {"b", "d"}
    assert (report.total, report.up_to_date) == (2, 2)


def test_empty_copy_is_complete(source: DictMemoryStore, target: DictMemoryStore) -> None:
    assert copy(source, target, []).is_complete


@pytest.mark.parametrize(("size", "operations"), [(1, [2] * 5), (2, [4, 4, 2]), (5, [10]), (100, [10])])
def test_transaction_size_limits_a_batch(
    source: DictMemoryStore, target: DictMemoryStore, recorder: EventRecorder, size: int, operations: list[int]
) -> None:
    copy(source, target, size=size, verify=False)
    recorder.clear()
    for key in KEYS:
        put(source, key, b"another")
    copy(source, target, size=size, verify=False)

    ends = recorder.of(StoreTransactionEndEvent)
    assert [event.outcome for event in ends] == ["committed"] * len(operations)
    assert [event.operations for event in ends] == operations  # get_metadata and set


def test_progress_is_emitted_for_each_key(
    source: DictMemoryStore, target: DictMemoryStore, recorder: EventRecorder
) -> None:
    copy(source, target)

    progress = [event for event in recorder.events if type(event).__mro__[1] is ProgressEvent]
    first, *steps, last = progress
    assert isinstance(first, ProgressStartEvent)
    assert isinstance(last, ProgressEndEvent)
    assert (first.message, first.steps, last.exit_state) == ("copying", 5, "normal")
    assert [event.step for event in steps if isinstance(event, ProgressStepEvent)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("to", "copied"), [("filesystem", [1, 2, 3, 4, 5]), ("memory", [0, 0, 2, 2, 4])])
def test_keys_count_as_copied_after_the_commit(
    source: DictMemoryStore, make_store: MakeStore, manager: EventManager, to: str, copied: list[int]
) -> None:
    job = CopyJob(source, make_store(to, "target"), transaction_size=2, verify=False)
    counts: list[int] = []
    manager.connect(
        ProgressStepEvent, lambda event: counts.append(job.report.up_to_date), where=lambda event: event.source is job
    )

    job.run(KEYS)

    assert counts == copied
    assert job.report.up_to_date == 5


def test_each_value_is_read_once(source: DictMemoryStore, target: DictMemoryStore, recorder: EventRecorder) -> None:
    copy(source, target)

    assert {event.outcome for event in recorder.of(StoreProgressEndEvent)} == {"ok"}
    assert len(operations(recorder, "source", "get")) == 5
    assert operations(recorder, "target", "get") == []


class TestRepeatedCopy:
    """Running the same copy again."""

    def test_unchanged_keys_are_skipped(
        self, source: DictMemoryStore, target: DictMemoryStore, recorder: EventRecorder
    ) -> None:
        copy(source, target)
        recorder.clear()

        report = copy(source, target)

        assert report == CopyReport(total=5, skipped=5)
        assert report.is_complete
        assert operations(recorder, "source", "get") == operations(recorder, "target", "set") == []

    def test_missing_keys_are_copied(self, source: DictMemoryStore, target: DictMemoryStore) -> None:
        copy(source, target, ["a", "b", "c"])

        assert copy(source, target) == CopyReport(total=5, copied=2, skipped=3)

    @pytest.mark.parametrize("verify", [False, True])
    @pytest.mark.parametrize("data", [b"value of X", b"another size"])
    def test_modified_value_is_copied_again(
        self, make_store: MakeStore, tmp_path: Path, target: DictMemoryStore, data: bytes, verify: bool
    ) -> None:
        source = make_store("filesystem", "source")
        source.from_bytes("a", b"value of a")
        source.from_bytes("b", b"value of b")
        copy(source, target)
        (tmp_path / "source" / "b").write_bytes(data)
        later = (target.get("b").modified or 0) + 1
        os.utime(tmp_path / "source" / "b", (later, later))

        assert copy(source, target, verify=verify) == CopyReport(total=2, copied=1, skipped=1)
        assert target.to_bytes("b") == data

    @pytest.mark.parametrize(
        ("data", "metadata"), [(b"another size", {"key": "b"}), (b"value of b", {"key": "c"})], ids=["size", "metadata"]
    )
    def test_changed_size_or_metadata_is_copied_despite_old_times(
        self, make_store: MakeStore, tmp_path: Path, target: DictMemoryStore, data: bytes, metadata: Metadata
    ) -> None:
        source = make_store("filesystem", "source")
        put(source, "b", b"value of b", {"key": "b"})
        copy(source, target)
        put(source, "b", data, metadata)
        os.utime(tmp_path / "source" / "b", (0, 0))

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("b") == data

    @pytest.mark.parametrize("verify", [False, True])
    def test_changed_bytes_of_the_same_size_are_copied(
        self, source: DictMemoryStore, target: DictMemoryStore, verify: bool
    ) -> None:
        copy(source, target)
        put(target, "c", b"value of X", {"key": "c"})

        assert copy(source, target, verify=verify) == CopyReport(total=5, copied=1, skipped=4)
        assert content(target) == content(source)
