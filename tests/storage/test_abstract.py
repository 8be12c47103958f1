"""AbstractStore: what our stores inherit and the contract does not check."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager, default
from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.transactions.writing import Change
from tests.storage.support import MakeStore, put


def test_abstract_store_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        AbstractStore()  # type: ignore[abstract]  # that is what is tested


def test_backend_defaults_to_store(manager: EventManager) -> None:
    class Nothing(AbstractStore):
        def _lookup(self, key: str) -> Any:
            raise NotImplementedError

        def _open(self, key: str, entry: Any, start: int, end: int) -> Any:
            raise NotImplementedError

        def _put(self, key: str, chunks: Any, metadata: Metadata | None) -> Change:
            raise NotImplementedError

        def _remove(self, key: str) -> Metadata:
            raise NotImplementedError

        def _keys(self) -> Any:
            raise NotImplementedError

    assert Nothing(event_manager=manager).name == "store"


def test_name_defaults_to_the_backend(make_store: MakeStore) -> None:
    store = make_store("a path", name=None)

    assert store.name == store.backend


def test_event_manager_defaults_to_the_global_one(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "_default", {})

    assert make_store(event_manager=None).event_manager is default.get_event_manager()


@pytest.mark.parametrize("given", [9464, "manager", object()])
def test_event_manager_of_another_type_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="an event manager was expected"):
        DictMemoryStore(event_manager=given)


def test_global_event_manager_receives_nothing_of_a_store_with_its_own(
    store: AbstractStore, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager()) as of_the_global_one:
        with store.transaction("everything"):
            put(store, "a", b"1")
            store.multiset_data(["b"], [io.BytesIO(b"2")])
        list(store.query())
        store.to_file("a", tmp_path / "file")
        store.delete("a")
        store.exists("a")

    assert of_the_global_one.events == []
    assert recorder.events != []
    assert {id(event.source) for event in recorder.events} == {id(store)}


def test_set_keeps_the_time_of_creation(store: AbstractStore) -> None:
    put(store, "a", b"1")
    created = store.get("a").created
    put(store, "a", b"2")

    # FileSystemStore replaces the file, and reports its times.
    assert store.get("a").created == created or store.backend == "filesystem"


def test_to_file_replaces_the_file_whole_or_leaves_it(
    store: AbstractStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "file"
    path.write_bytes(b"old")
    (folder / "file.part").write_bytes(b"of someone else")
    put(store, "a", b"new")

    def opened(*arguments: object) -> Iterator[bytes]:
        yield b"1"
        raise OSError("cable")

    with pytest.raises(KeyNotFoundError):
        store.to_file("missing", path)
    monkeypatch.setattr(store, "_open", opened)
    with pytest.raises(OSError, match="cable"):
        store.to_file("a", path)

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "file": b"old",
        "file.part": b"of someone else",
    }
