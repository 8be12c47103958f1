"""AbstractStore: what our stores inherit and the contract does not check."""

from __future__ import annotations

import io
import math
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


STEPS = ["_begin_transaction", "_commit_transaction", "_rollback_transaction"]


@pytest.mark.parametrize("missing", [STEPS, STEPS[1:], STEPS[:1]], ids=len)
def test_transactional_class_without_its_steps_is_refused(missing: list[str]) -> None:
    steps = {step: lambda self: None for step in STEPS if step not in missing}
    with pytest.raises(TypeError, match=rf"'Half' lacks {', '.join(missing)}: implement"):
        type("Half", (AbstractStore,), {"transactional": True, **steps})


def test_transactional_class_with_its_own_transaction_needs_no_steps() -> None:
    body = {"transactional": True, "transaction": lambda self, notes=None: None}

    assert type("Own", (AbstractStore,), body).__name__ == "Own"


@pytest.mark.parametrize(
    ("timeout", "error"), [("x", TypeError), (True, TypeError), (-1, ValueError), (math.nan, ValueError)]
)
def test_invalid_timeout_is_refused(timeout: Any, error: type[Exception], make_store: MakeStore) -> None:
    with pytest.raises(error, match=f"timeout must be .*, not {timeout!r}"):
        make_store(timeout=timeout)


@pytest.mark.parametrize("timeout", [None, 0, 1.5, math.inf])
def test_timeout_is_a_number_or_none(timeout: float | None, make_store: MakeStore) -> None:
    assert make_store(timeout=timeout).timeout == timeout


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", r"takes bytes, not str: encode it first, as in text.encode\(\)"),
        (3, r"takes bytes, not int: convert it first, as in json.dumps\(data\).encode\(\)"),
        (None, "bytes, not NoneType"),
        (io.StringIO("text"), r"bytes, not StringIO: use set_data\(\) for a file"),
        (Path("file"), r"bytes, not PosixPath: use from_file\(\) for a path"),
    ],
)
def test_from_bytes_refuses_other_types(data: Any, message: str, store: AbstractStore) -> None:
    with pytest.raises(TypeError, match=message):
        store.from_bytes("a", data)


@pytest.mark.parametrize("bounds", [("a", None), (None, "a"), (1.5, None), (0, b"1")])
def test_range_refuses_other_types(bounds: tuple[Any, Any], store: AbstractStore) -> None:
    store.from_bytes("a", b"0123")
    with pytest.raises(TypeError, match=r"(start|end) must be an int or None, not "):
        store.get_data_range("a", *bounds)
    with pytest.raises(TypeError, match=r"(start|end) must be an int or None, not "):
        store.get("a").range(*bounds)


@pytest.mark.parametrize("pattern", [3, None, b"*"])
def test_glob_refuses_other_types(pattern: Any, store: AbstractStore) -> None:
    with pytest.raises(TypeError, match=r"pattern of glob\(\) must be a str, not "):
        store.glob(pattern)


def test_multiset_names_what_is_missing(store: AbstractStore) -> None:
    with pytest.raises(ValueError, match=r"multiset_metadata\(\) takes one item per key, but got 2 keys and 1 items"):
        store.multiset_metadata(["a", "b"], [{}])
    with pytest.raises(ValueError, match=r"takes one item per key, but got fewer items"):
        store.multiset_metadata(iter(["a"]), iter([]))
    with pytest.raises(ValueError, match=r"takes one item per key, but got fewer keys"):
        store.multiset_metadata(iter([]), iter([{}]))
