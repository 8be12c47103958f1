"""What holds for one key of every store: its bytes, its metadata, and what is told of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, default
from encore_events.testing import EventRecorder
from encore_storage.errors import (
    ConflictError,
    InvalidKeyError,
    InvalidMetadataError,
    KeyNotFoundError,
    StoreConnectionError,
)
from encore_storage.events import (
    StoreDeleteEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreUpdateEvent,
)
from encore_storage.metadata import Metadata
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from encore_storage.transactions.contexts import DummyTransactionContext, SimpleTransactionContext
from encore_storage.value import Value
from tests.storage.support import MakeStore, Source, put

METADATA: Metadata = {
    "text": "grün 🗝 \n",
    "int": 2**70,
    "float": 0.1,
    "yes": True,
    "none": None,
    "list": [1, [2.5, {"deep": []}]],
    "": {"": ""},
}
NOT_JSON: dict[str, Any] = {
    "a tuple": {"a": (1, 2)},
    "a set": {"a": {1}},
    "bytes": {"a": [b""]},
    "not a number": {"a": float("nan")},
    "infinity": {"a": {"b": float("-inf")}},
    "an object": {"a": object()},
    "a name that is no str": {1: "a"},
    "a deep name that is no str": {"a": [{None: 1}]},
    "a list": ["a"],
    "a str": "a",
}
RANGES = {
    (None, None): b"0123456789",
    (0, 3): b"012",
    (2, 5): b"234",
    (3, None): b"3456789",
    (None, 4): b"0123",
    (8, 100): b"89",
    (10, None): b"",
    (100, 200): b"",
    (5, 5): b"",
    (5, 2): b"",
}
MISSING: dict[str, Callable[[AbstractStore], object]] = {
    "get": lambda store: store.get("missing"),
    "get_data": lambda store: store.get_data("missing"),
    "get_data_range": lambda store: store.get_data_range("missing", 1, 2),
    "get_metadata": lambda store: store.get_metadata("missing"),
    "update_metadata": lambda store: store.update_metadata("missing", {}),
    "delete": lambda store: store.delete("missing"),
    "to_bytes": lambda store: store.to_bytes("missing"),
    "multiget": lambda store: list(store.multiget(["missing"])),
    "multiget_data": lambda store: list(store.multiget_data(["missing"])),
    "multiget_metadata": lambda store: list(store.multiget_metadata(["missing"])),
}
EVERY_CALL: dict[str, Callable[[AbstractStore], object]] = {
    **MISSING,
    "exists": lambda store: store.exists("missing"),
    "set": lambda store: put(store, "a", b"1"),
    "set_data": lambda store: store.set_data("a", io.BytesIO(b"1")),
    "set_metadata": lambda store: store.set_metadata("a", {}),
    "from_bytes": lambda store: store.from_bytes("a", b"1"),
    "query": lambda store: store.query(),
    "query_keys": lambda store: store.query_keys(),
    "glob": lambda store: store.glob("*"),
}


def content(store: AbstractStore, key: str) -> tuple[bytes, Metadata]:
    return store.to_bytes(key), store.get_metadata(key)


@pytest.mark.parametrize("size", [0, 1, 65536, MEBIBYTE, 2 * MEBIBYTE + 3])
def test_what_is_set_is_what_is_got(size: int, store: AbstractStore) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    put(store, "a", data, METADATA)

    with store.get("a") as value:
        assert value.data.read(-1) == data
        assert value.metadata == METADATA
        assert value.size == size


def test_a_value_unpacks_as_data_and_metadata(store: AbstractStore) -> None:
    put(store, "a", b"bytes", {"kind": "example"})

    data, metadata = store.get("a")
    with data:
        assert (data.read(-1), metadata) == (b"bytes", {"kind": "example"})


def test_a_source_may_read_short_and_a_little_at_a_time(store: AbstractStore) -> None:
    store.set("a", (Source(b"one ", b"t", b"wo"), {}), buffer_size=4)

    assert store.to_bytes("a", buffer_size=2) == b"one two"


def test_a_value_may_be_given_as_a_value(store: AbstractStore) -> None:
    store.set("a", Value(io.BytesIO(b"bytes"), {"kind": "example"}))

    assert content(store, "a") == (b"bytes", {"kind": "example"})


def test_a_value_of_another_store_may_be_given(make_store: MakeStore) -> None:
    source, target = make_store("source"), make_store("target")
    put(source, "a", b"bytes", {"kind": "example"})

    target.set("b", source.get("a"))

    assert content(target, "b") == (b"bytes", {"kind": "example"})


@pytest.mark.parametrize("key", ["a", "b"])
def test_a_value_of_the_store_itself_may_be_given(key: str, store: AbstractStore) -> None:
    put(store, "a", b"bytes" * 50_000, {"kind": "example"})

    store.set(key, store.get("a"), buffer_size=1000)

    assert content(store, key) == (b"bytes" * 50_000, {"kind": "example"})


def test_a_value_that_could_not_be_stored_is_closed_and_its_operation_over(
    make_store: MakeStore, manager: EventManager
) -> None:
    source = DictMemoryStore(name="source", event_manager=manager)
    target = make_store("target")
    source.from_bytes("a", b"1" * 100)
    recorder = EventRecorder(manager)

    with pytest.raises(InvalidKeyError):
        target.set(1, source.get("a"))  # type: ignore[arg-type]  # that is what is tested

    (told,) = [event for event in recorder.of(StoreProgressEndEvent) if event.operation == "get"]
    assert (told.outcome, told.bytes) == ("ok", 0)


def test_what_the_caller_has_opened_stays_open(make_store: MakeStore, manager: EventManager) -> None:
    source = DictMemoryStore(name="source", event_manager=manager)
    target = make_store("target")
    source.from_bytes("a", b"0123456789")

    with source.get("a") as opened:
        opened.data.read(4)
        target.set("a", opened)
        made = io.BytesIO(b"bytes")
        target.set("b", Value(made))

        assert target.to_bytes("a") == b"456789"
        assert opened.data.read() == b""
        assert not made.closed


def test_what_is_no_value_is_told_as_an_error(store: AbstractStore, recorder: EventRecorder) -> None:
    with pytest.raises(TypeError):
        store.set("a", b"bytes")  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(FileNotFoundError):
        store.from_file("a", "no such file")

    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.operation, end.outcome, end.error_type) for end in ends] == [
        ("set", "error", "invalid"),
        ("set", "error", "not_found"),
    ]


@pytest.mark.parametrize(
    "value", [b"bytes", (b"bytes",), (io.BytesIO(), {}, 1), None], ids=["bytes", "single", "triple", "None"]
)
def test_what_is_no_value_is_refused(value: Any, store: AbstractStore) -> None:
    with pytest.raises(TypeError, match="a Value or a pair"):
        store.set("a", value)

    assert not store.exists("a")


@pytest.mark.parametrize("source", [b"bytes", io.StringIO("text"), None], ids=["bytes", "text", "None"])
def test_what_cannot_be_read_as_bytes_is_refused_and_changes_nothing(source: Any, store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old"})
    with pytest.raises(TypeError):
        store.set("a", (source, {}))

    assert content(store, "a") == (b"old", {"state": "old"})


@pytest.mark.parametrize("buffer_size", [0, -1])
def test_a_buffer_that_holds_nothing_is_refused_and_changes_nothing(buffer_size: int, store: AbstractStore) -> None:
    with pytest.raises(ValueError, match="buffer_size"):
        store.set("a", (io.BytesIO(b"1"), {}), buffer_size=buffer_size)

    assert not store.exists("a")


@pytest.mark.parametrize(("bounds", "expected"), RANGES.items(), ids=str)
def test_a_range_is_from_start_up_to_and_without_end(
    bounds: tuple[int | None, int | None], expected: bytes, store: AbstractStore
) -> None:
    put(store, "a", b"0123456789")

    with store.get_data_range("a", *bounds) as data, store.get("a") as value, value.range(*bounds) as same:
        assert data.read() == expected
        assert same.read(-1) == expected


def test_a_range_may_span_many_chunks(store: AbstractStore) -> None:
    data = bytes(range(256)) * 16_384
    put(store, "a", data)

    with store.get_data_range("a", 1_000_001, 3_000_003) as part:
        assert part.read() == data[1_000_001:3_000_003]


@pytest.mark.parametrize("bounds", [(-1, None), (None, -1), (0, -5)])
def test_a_negative_bound_is_refused(bounds: tuple[int | None, int | None], store: AbstractStore) -> None:
    put(store, "a", b"0123456789")

    with pytest.raises(ValueError, match="at least 0"):
        store.get_data_range("a", *bounds)
    with pytest.raises(ValueError, match="at least 0"):
        store.get("a").range(*bounds)


def test_the_data_is_a_file(store: AbstractStore) -> None:
    put(store, "a", b"one\ntwo\nthree")

    with store.get_data("a") as data:
        assert data.read(2) == b"on"
        assert data.readline() == b"e\n"
        assert list(data) == [b"two\n", b"three"]
    assert data.closed
    with store.get_data("a") as data, io.TextIOWrapper(data, "ascii") as text:  # type: ignore[type-var]  # it wants a name
        assert text.read() == "one\ntwo\nthree"


def test_a_value_is_read_in_chunks_with_progress(store: AbstractStore) -> None:
    put(store, "a", b"0123456789")
    totals: list[int] = []

    with store.get("a") as value:
        chunks = list(value.iterdata(4, lambda *, step: totals.append(step)))

    assert chunks == [b"0123", b"4567", b"89"]
    assert totals == [4, 8, 10]


@pytest.mark.parametrize("call", MISSING.values(), ids=MISSING)
def test_a_missing_key_is_said_to_be_missing(call: Callable[[AbstractStore], object], store: AbstractStore) -> None:
    with pytest.raises(KeyNotFoundError, match="no value under key 'missing' in store 'archive'"):
        call(store)


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_a_key_that_is_no_str_is_refused(key: Any, store: AbstractStore) -> None:
    with pytest.raises(InvalidKeyError, match="not a str"):
        store.exists(key)
    with pytest.raises(InvalidKeyError, match="not a str"):
        put(store, key, b"1")


def test_a_key_exists_from_its_set_to_its_delete(store: AbstractStore) -> None:
    assert not store.exists("a")
    put(store, "a", b"1")
    assert store.exists("a")
    store.delete("a")
    assert not store.exists("a")
    put(store, "a", b"2")
    assert content(store, "a") == (b"2", {})


def test_a_set_replaces_bytes_and_metadata(store: AbstractStore) -> None:
    put(store, "a", b"a long old value", {"state": "old", "more": 1})
    put(store, "a", b"new", {"state": "new"})

    assert content(store, "a") == (b"new", {"state": "new"})


def test_set_data_keeps_the_metadata(store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old"})
    store.set_data("a", io.BytesIO(b"new"))

    assert content(store, "a") == (b"new", {"state": "old"})


def test_set_data_of_a_new_key_makes_it_with_no_metadata(store: AbstractStore) -> None:
    store.set_data("a", io.BytesIO(b"new"))

    assert content(store, "a") == (b"new", {})


def test_set_metadata_keeps_the_bytes(store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old", "more": 1})
    store.set_metadata("a", {"state": "new"})

    assert content(store, "a") == (b"old", {"state": "new"})
    assert store.get("a").size == 3


def test_set_metadata_of_a_new_key_makes_it_with_no_bytes(store: AbstractStore) -> None:
    store.set_metadata("a", METADATA)

    assert content(store, "a") == (b"", METADATA)


def test_update_metadata_keeps_the_other_items_and_the_bytes(store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old", "more": 1})
    store.update_metadata("a", {"state": "new", "extra": [2]})

    assert content(store, "a") == (b"old", {"state": "new", "more": 1, "extra": [2]})


def test_metadata_may_be_had_in_part(store: AbstractStore) -> None:
    put(store, "a", b"", {"one": 1, "two": 2, "three": 3})

    assert store.get_metadata("a", select=["three", "one", "none"]) == {"one": 1, "three": 3}
    assert store.get_metadata("a", select=[]) == {}


def test_what_set_got_is_copied(store: AbstractStore) -> None:
    metadata: Metadata = {"tags": ["old"], "more": {"deep": 1}}
    put(store, "a", b"1", metadata)
    store.set_metadata("b", metadata)
    store.update_metadata("b", metadata)
    metadata["tags"].append("new")
    metadata["more"]["deep"] = 2

    assert store.get_metadata("a") == store.get_metadata("b") == {"tags": ["old"], "more": {"deep": 1}}


def test_what_get_gives_is_the_callers(store: AbstractStore) -> None:
    put(store, "a", b"1", {"tags": ["old"]})
    for metadata in (
        store.get("a").metadata,
        store.get_metadata("a"),
        store.get_metadata("a", ["tags"]),
        dict(store.query())["a"],
        dict(store.query(select=["tags"]))["a"],
        next(store.multiget_metadata(["a"])),
    ):
        metadata["tags"].append("mine")
        metadata["more"] = 1

    assert store.get_metadata("a") == {"tags": ["old"]}


def test_what_a_listener_does_with_the_metadata_of_an_event_changes_nothing(
    store: AbstractStore, manager: EventManager
) -> None:
    def scribble(event: Any) -> None:
        if getattr(event, "metadata", None) is not None:
            event.metadata["tags"].append("scribbled")

    mine: Metadata = {"tags": ["old"]}
    with manager.connect(BaseEvent, scribble):
        put(store, "a", b"1", mine)
        store.get("a").data.close()
        store.set_metadata("a", mine)
        store.update_metadata("a", mine)

    assert mine == store.get_metadata("a") == {"tags": ["old"]}


@pytest.mark.parametrize("metadata", NOT_JSON.values(), ids=NOT_JSON)
def test_metadata_that_is_not_json_is_refused_before_anything_is_read_or_written(
    metadata: Any, store: AbstractStore
) -> None:
    put(store, "a", b"old", {"state": "old"})
    source = Source(b"new")

    for key in ("a", "b"):
        with pytest.raises(InvalidMetadataError):
            store.set(key, (source, metadata))
        with pytest.raises(TypeError):
            store.set_metadata(key, metadata)
        with pytest.raises(TypeError):
            store.update_metadata(key, metadata)

    assert source.answers == [b"new"]
    assert content(store, "a") == (b"old", {"state": "old"})
    assert not store.exists("b")


@pytest.mark.parametrize("error", [OSError("cable"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("data", [b"old", None], ids=["old value", "new key"])
def test_a_source_that_fails_in_mid_stream_leaves_everything_as_it_was(
    data: bytes | None, error: BaseException, store: AbstractStore, recorder: EventRecorder
) -> None:
    if data is not None:
        put(store, "a", data, {"state": "old"})
    recorder.clear()

    with pytest.raises(type(error)):
        store.set("a", (Source(b"n" * 100_000, b"e", error), {"state": "new"}), buffer_size=100_000)
    with pytest.raises(type(error)):
        store.set_data("a", Source(b"n" * 100_000, error))

    assert recorder.of(StoreModificationEvent) == []
    assert list(store.query_keys()) == ([] if data is None else ["a"])
    if data is not None:
        assert content(store, "a") == (b"old", {"state": "old"})


@pytest.mark.parametrize("change", ["replaced", "deleted", "made anew"])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_reader_of_a_value_that_changes_gets_the_old_bytes_whole_or_an_error(
    opened: str, change: str, store: AbstractStore
) -> None:
    old = b"old " * 500_000
    put(store, "a", old, {"state": "old"})
    value = store.get("a")
    if opened == "before":
        assert value.data.read(6) == b"old ol"

    if change != "replaced":
        store.delete("a")
    if change != "deleted":
        put(store, "a", b"new " * 500_000, {"state": "new"})

    try:
        rest = value.data.read(-1)
    except (ConflictError, KeyNotFoundError):
        rest = None
    value.close()
    assert rest in (None, old[6:] if opened == "before" else old)
    assert value.metadata == {"state": "old"}


def test_a_reader_gets_the_old_bytes_whole_or_an_error_though_only_the_metadata_changes(store: AbstractStore) -> None:
    put(store, "a", b"bytes", {"state": "old"})
    with store.get("a") as value:
        store.set_metadata("a", {"state": "new"})
        with suppress(ConflictError):
            assert value.data.read(-1) == b"bytes"


def test_times_are_seconds_since_the_epoch(store: AbstractStore) -> None:
    put(store, "a", b"1")
    first = store.get("a")
    put(store, "a", b"2")
    second = store.get("a")

    for value in (first, second):
        assert value.created is not None
        assert value.modified is not None
        assert 1.7e9 < value.created <= value.modified
    assert second.created == first.created or store.backend == "filesystem"  # where the file's own times count
    assert first.modified is not None
    assert second.modified is not None
    assert second.modified >= first.modified


def test_bytes_go_to_a_file_and_come_from_one(store: AbstractStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    put(store, "a", b"bytes" * 1000, {"kind": "example"})

    store.to_file("a", path, buffer_size=7)
    assert path.read_bytes() == b"bytes" * 1000
    path.write_bytes(b"others")
    store.from_file("a", str(path), buffer_size=7)

    assert content(store, "a") == (b"others", {"kind": "example"})


def test_a_file_that_is_written_to_is_replaced_as_a_whole_or_left_alone(
    store: AbstractStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "file"
    path.write_bytes(b"old")
    (folder / "file.part").write_bytes(b"of someone else")
    put(store, "a", b"new")

    with pytest.raises(KeyNotFoundError):
        store.to_file("missing", path)
    break_reading(store, monkeypatch, OSError("cable"))
    with pytest.raises(OSError, match="cable"):
        store.to_file("a", path)

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "file": b"old",
        "file.part": b"of someone else",
    }


def break_reading(store: AbstractStore, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Have every stream of the store give one byte, and then the error."""

    def opened(*arguments: object) -> Iterator[bytes]:
        yield b"1"
        raise error

    monkeypatch.setattr(store, "_open", opened)


def test_bytes_keep_the_metadata(store: AbstractStore) -> None:
    put(store, "a", b"old", {"state": "old"})
    store.from_bytes("a", b"new", buffer_size=2)

    assert content(store, "a") == (b"new", {"state": "old"})


def test_a_new_key_is_told_as_set_a_known_one_as_updated(store: AbstractStore, recorder: EventRecorder) -> None:
    put(store, "a", b"1", {"n": 1})
    put(store, "a", b"2", {"n": 2})
    store.set_data("a", io.BytesIO(b"3"))
    store.set_metadata("a", {"n": 3})
    store.update_metadata("a", {"m": 4})
    store.delete("a")
    store.set_data("b", io.BytesIO(b"1"))
    store.set_metadata("c", {"n": 1})

    told = [(type(event), event.key, event.action, event.metadata) for event in recorder.of(StoreModificationEvent)]
    assert told == [
        (StoreSetEvent, "a", "set", {"n": 1}),
        (StoreUpdateEvent, "a", "update", {"n": 2}),
        (StoreUpdateEvent, "a", "update", {"n": 2}),
        (StoreUpdateEvent, "a", "update", {"n": 3}),
        (StoreUpdateEvent, "a", "update", {"n": 3, "m": 4}),
        (StoreDeleteEvent, "a", "delete", {"n": 3, "m": 4}),
        (StoreSetEvent, "b", "set", {}),
        (StoreSetEvent, "c", "set", {"n": 1}),
    ]
    for event in recorder.of(StoreModificationEvent):
        assert (event.source, event.store, event.transaction_id) == (store, "archive", None)


def test_a_listener_may_use_the_store_while_it_is_told_of_it(store: AbstractStore, manager: EventManager) -> None:
    put(store, "a", b"1", {"n": 1})

    @manager.on(StoreSetEvent)
    def note(event: StoreSetEvent) -> None:
        if event.key == "b":
            put(store, "noted", store.to_bytes("b"))

    put(store, "b", b"2")

    assert store.to_bytes("noted") == b"2"


@pytest.mark.usefixtures("every_step")
def test_a_listener_may_read_the_store_in_the_middle_of_a_set(store: AbstractStore, manager: EventManager) -> None:
    put(store, "a", b"old", {"state": "old"})
    seen = []
    manager.connect(StoreProgressStepEvent, lambda event: seen.append(store.get_metadata("a")["state"]))

    store.set("a", (Source(b"1" * 1000, b"2" * 1000, b"3" * 1000), {"state": "new"}), buffer_size=1000)

    assert seen == ["old", "old"]
    assert store.get_metadata("a") == {"state": "new"}


def test_it_tells_its_own_event_manager_and_never_the_global_one(
    store: AbstractStore, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager()) as heard:
        with store.transaction("everything"):
            put(store, "a", b"1")
            store.multiset_data(["b"], [io.BytesIO(b"2")])
        list(store.query())
        store.to_file("a", tmp_path / "file")
        store.delete("a")
        store.exists("a")

    assert heard.events == []
    assert recorder.events != []
    assert {id(event.source) for event in recorder.events} == {id(store)}


def test_without_an_event_manager_it_takes_the_default(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "_default", {})

    assert make_store(event_manager=None).event_manager is default.get_event_manager()


def test_nobody_listens_and_all_works_nevertheless(store: AbstractStore) -> None:
    put(store, "a", b"1", {"n": 1})
    store.update_metadata("a", {"m": 2})
    with pytest.raises(KeyNotFoundError):
        store.delete("missing")

    assert content(store, "a") == (b"1", {"n": 1, "m": 2})
    assert list(store.glob("*")) == ["a"]


def test_it_is_usable_as_made_and_connect_changes_nothing(store: AbstractStore) -> None:
    assert store.is_connected()
    put(store, "a", b"1")
    store.connect()

    assert content(store, "a") == (b"1", {})


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
def test_no_call_works_on_a_store_that_was_disconnected(
    call: Callable[[AbstractStore], object], store: AbstractStore
) -> None:
    store.disconnect()
    store.disconnect()

    assert not store.is_connected()
    with pytest.raises(StoreConnectionError, match="'archive' is disconnected"):
        call(store)


def test_it_can_be_connected_again(store: AbstractStore) -> None:
    store.disconnect()
    store.connect()
    put(store, "a", b"1")

    assert content(store, "a") == (b"1", {})


def test_a_value_of_a_store_that_was_disconnected_cannot_be_opened(store: AbstractStore) -> None:
    put(store, "a", b"1")
    value = store.get("a")
    store.disconnect()

    with pytest.raises(StoreConnectionError):
        _ = value.data


def test_it_is_a_context_manager(make_store: MakeStore) -> None:
    store = make_store()
    with store as entered:
        assert entered is store
        put(store, "a", b"1")
    assert not store.is_connected()
    with store:
        assert store.is_connected()


def test_it_can_be_disconnected_in_another_thread(store: AbstractStore, pool: ThreadPoolExecutor) -> None:
    put(store, "a", b"1")
    pool.submit(store.disconnect).result()

    assert not store.is_connected()


def test_it_says_what_it_is(store: AbstractStore) -> None:
    info = store.info()

    assert (info["name"], info["backend"], info["readonly"]) == ("archive", store.backend, False)
    assert info["transactional"] is store.transactional
    assert repr(store).startswith(f"<{type(store).__name__} 'archive'")
    assert "connected" in repr(store)


def test_without_a_name_it_has_that_of_its_backend(make_store: MakeStore) -> None:
    store = make_store("a path", name=None)

    assert store.name == store.backend


def test_its_transaction_is_what_its_info_says(store: AbstractStore) -> None:
    kind = SimpleTransactionContext if store.info()["transactional"] else DummyTransactionContext

    with store.transaction("notes") as transaction:
        assert isinstance(transaction, kind)
    assert transaction.store is store


def test_a_store_cannot_be_made_of_the_abstract_class() -> None:
    with pytest.raises(TypeError, match="abstract"):
        AbstractStore()  # type: ignore[abstract]  # that is what is tested
