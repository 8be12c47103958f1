"""Copies skip keys that have not changed on either side since the last copy."""

from __future__ import annotations

import io
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyReport
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
)
from encore_storage.stores import DictMemoryStore, SqliteStore
from encore_storage.stores.fingerprints import kept_fingerprint
from tests.cli.copies import KINDS, LARGE, MakeStore, connect_once, copy, ended_keys
from tests.storage.support import put


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("from_", [*KINDS, "sqlite in memory"])
class TestUnchanged:
    """Copies between any two stores."""

    def test_unchanged_keys_are_skipped_unread(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for key in ("a", "b", "c/d", "empty"):
            put(source, key, b"" if key == "empty" else key.encode(), {"key": key})
        copy(source, target)
        recorder.clear()

        assert copy(source, target) == CopyReport(total=4, skipped=4)
        assert (
            ended_keys(recorder, "source", "get")
            == ended_keys(recorder, "target", "get")
            == ended_keys(recorder, "target", "set")
            == []
        )

    def test_verify_reads_everything(self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for key in ("a", "b"):
            put(source, key, key.encode())
        copy(source, target)
        recorder.clear()

        assert copy(source, target, verify=True) == CopyReport(total=2, skipped=2)
        assert ended_keys(recorder, "source", "get") == ended_keys(recorder, "target", "get") == ["a", "b"]

    def test_key_rewritten_in_the_source_is_copied(self, make_store: MakeStore, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"old")
        put(source, "b", b"old")
        copy(source, target)
        put(source, "a", b"new")

        assert copy(source, target) == CopyReport(total=2, copied=1, skipped=1)
        assert target.to_bytes("a") == b"new"
        assert copy(source, target) == CopyReport(total=2, skipped=2)

    def test_key_rewritten_in_the_target_is_copied_again(self, make_store: MakeStore, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        copy(source, target)
        put(target, "a", b"wrong")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    def test_key_deleted_from_the_target_is_copied_again(self, make_store: MakeStore, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        copy(source, target)
        target.delete("a")
        assert copy(source, target) == CopyReport(total=1, copied=1)
        target.delete("a")
        put(target, "a", b"wrong")

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    @pytest.mark.parametrize("metadata", [{"n": 2}, {"n": True}, {"n": 1.0}, {}, {"n": 1, "m": None}])
    def test_changed_metadata_is_copied(
        self, make_store: MakeStore, from_: str, to: str, metadata: dict[str, Any]
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"bytes", {"n": 1})
        copy(source, target)
        source.set_metadata("a", metadata)

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert str(target.get_metadata("a")) == str(metadata)
        target.set_metadata("a", {"somebody": "else"})
        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert str(target.get_metadata("a")) == str(metadata)

    def test_value_rewritten_after_reading_is_copied_next_time(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"old!")
        wanted = {"store": "source", "operation": "get"}
        connect_once(manager, StoreProgressEndEvent, wanted, lambda: put(source, "a", b"new!"))

        copy(source, target)
        copy(source, target)

        assert target.to_bytes("a") == b"new!"

    def test_value_rewritten_while_reading_is_copied_whole(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        wanted = {"store": "target", "operation": "set"}
        connect_once(manager, StoreProgressStartEvent, wanted, lambda: put(source, "a", b"2" * LARGE))

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"2" * LARGE

    def test_target_rewritten_right_after_the_copy_is_copied_again(
        self, make_store: MakeStore, manager: EventManager, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"right")
        wanted = {"store": "target", "operation": "set", "key": "a"}
        connect_once(manager, StoreProgressEndEvent, wanted, lambda: put(target, "a", b"wrong"))
        copy(source, target)
        assert target.to_bytes("a") == b"wrong"

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"right"

    def test_keys_without_fingerprint_are_compared_once(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        for store in (source, target):
            put(store, "a", b"the same")
            put(store, "b", b"1" if store is source else b"2")

        assert copy(source, target) == CopyReport(total=2, copied=1, skipped=1)
        recorder.clear()
        assert copy(source, target) == CopyReport(total=2, skipped=2)
        assert ended_keys(recorder, "source", "get") == ended_keys(recorder, "target", "get") == []

    def test_fingerprints_are_invisible(
        self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str
    ) -> None:
        source, target, other = make_store(from_, "source"), make_store(to, "target"), make_store("memory", "other")
        put(source, "a", b"1", {"n": 1})
        copy(source, target)
        copy(target, other)

        assert dict(target.query()) == dict(other.query()) == {"a": {"n": 1}}
        assert list(target.query_keys()) == ["a"]
        assert {event.key for event in recorder.of(StoreModificationEvent)} == {"a"}
        assert kept_fingerprint(target, "a") is not None


@pytest.mark.parametrize(("from_", "to"), [("plain", "memory"), ("memory", "plain"), ("plain", "plain")])
class TestWithoutFingerprints:
    """Values of stores without fingerprints are compared byte by byte."""

    def test_equal_bytes_are_skipped(self, make_store: MakeStore, recorder: EventRecorder, from_: str, to: str) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", b"1" * LARGE)
        put(source, "empty", b"")
        copy(source, target)
        recorder.clear()

        assert copy(source, target) == CopyReport(total=2, skipped=2)
        assert ended_keys(recorder, "source", "get") == ["a", "empty"]

    @pytest.mark.parametrize("place", [0, LARGE // 2, LARGE - 1])
    def test_single_differing_byte_is_detected(self, make_store: MakeStore, from_: str, to: str, place: int) -> None:
        source, target = make_store(from_, "source"), make_store(to, "target")
        put(source, "a", bytes(LARGE))
        copy(source, target)
        changed = bytearray(LARGE)
        changed[place] = 1
        put(target, "a", bytes(changed))

        assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == bytes(LARGE)


class TestDatabases:
    """Changes to a database that holds a copy."""

    def test_bytes_changed_in_place_are_copied_again(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        put(source, "a", b"right")
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            copy(source, target)
        with sqlite3.connect(tmp_path / "target") as connection:
            connection.execute("UPDATE chunk SET data = ?", (b"wrong",))
        connection.close()

        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            assert target.to_bytes("a") == b"wrong"
            assert copy(source, target) == CopyReport(total=1, copied=1)
            assert target.to_bytes("a") == b"right"

    def test_replacing_a_value_removes_its_fingerprint(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            for key in "abc":
                put(source, key, key.encode())
            copy(source, target)
            target.delete("a")
            put(target, "b", b"other")
            target.set_metadata("c", {"n": 1})
            rows = target._select("SELECT count(*) FROM fingerprint")

        assert rows == [(1,)]

    def test_copy_keeps_the_layout_version(self, make_store: MakeStore, tmp_path: Path) -> None:
        source = make_store("memory", "source")
        put(source, "a", b"1")
        layouts = []
        with SqliteStore(tmp_path / "target", event_manager=EventManager()) as target:
            layouts += target._select("PRAGMA user_version")
            assert target._select("SELECT name FROM sqlite_master WHERE name LIKE 'fingerprint%'") == []
            copy(source, target)
            layouts += target._select("PRAGMA user_version")

        assert layouts[0] == layouts[1]

    @pytest.mark.parametrize("to", ["memory", "sqlite", "sqlite in memory"])
    def test_rollback_removes_fingerprints(
        self, make_store: MakeStore, manager: EventManager, recorder: EventRecorder, to: str
    ) -> None:
        source, target = make_store("memory", "source"), make_store(to, "target")
        for key in ("a", "b"):
            put(source, key, b"new")
            put(target, key, b"old")

        def interrupt() -> None:
            raise KeyboardInterrupt

        connect_once(manager, StoreProgressEndEvent, {"store": "target", "operation": "set", "key": "b"}, interrupt)
        with pytest.raises(KeyboardInterrupt):
            copy(source, target)

        assert recorder.of(StoreTransactionEndEvent)[-1].outcome == "rolled_back"
        assert kept_fingerprint(target, "a") is None
        assert copy(source, target) == CopyReport(total=2, copied=2)
        assert {key: target.to_bytes(key) for key in ("a", "b")} == {"a": b"new", "b": b"new"}

    def test_source_restored_from_a_backup_is_copied_again(self, make_store: MakeStore, tmp_path: Path) -> None:
        target = make_store("memory", "target")
        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            put(source, "a", b"old")
            copy(source, target)
        shutil.copy(tmp_path / "source", tmp_path / "backup")
        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            put(source, "a", b"new")
            copy(source, target)
        shutil.copy(tmp_path / "backup", tmp_path / "source")

        with SqliteStore(tmp_path / "source", event_manager=EventManager()) as source:
            assert copy(source, target) == CopyReport(total=1, copied=1)
        assert target.to_bytes("a") == b"old"


class WrongStore(DictMemoryStore):
    """A store that stores wrong bytes while `is_wrong`."""

    is_wrong = True

    def _put(self, key: str, chunks: Any, metadata: Any) -> Any:
        return super()._put(key, [b"WRONG"] if self.is_wrong and list(chunks) else chunks, metadata)


def test_key_that_failed_verification_is_copied_again(manager: EventManager) -> None:
    source, target = DictMemoryStore(name="source", event_manager=manager), WrongStore(event_manager=manager)
    put(source, "a", b"right")
    assert list(copy(source, target, verify=True).failed) == ["a"]
    assert kept_fingerprint(target, "a") is None
    target.is_wrong = False

    assert copy(source, target) == CopyReport(total=1, copied=1)
    assert target.to_bytes("a") == b"right"


def test_copy_ignores_source_permissions(make_store: MakeStore, tmp_path: Path) -> None:
    source, target = make_store("filesystem", "source"), make_store("memory", "target")
    source.set("a", (io.BytesIO(b"1"), {}))
    (tmp_path / "source" / "a").chmod(0o400)

    assert copy(source, target) == CopyReport(total=1, copied=1)
    assert stat.S_IMODE((tmp_path / "source" / "a").stat().st_mode) == 0o400
