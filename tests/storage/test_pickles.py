"""Copies and pickles: of each class of errors and events, of stores, and of values."""

from __future__ import annotations

import concurrent.futures
import copy
import importlib
import inspect
import io
import multiprocessing
import pickle
import pkgutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import encore_events
import encore_run
import encore_storage
from encore_events import BaseEvent, EncoreError, EventManager, ListenerErrorEvent, ProgressManager, default
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore, FileSystemStore, KeyNotFoundError, SqliteStore, UnpicklableError, Value
from encore_storage.clients.errors import ClientError, stand_in
from encore_storage.codec import EventCodec
from encore_storage.codec.errors import RecordedError, RecordedInterruption
from encore_storage.codec.recorded import GenericEvent, recorded_error, recorded_event
from encore_storage.events import StoreEvent, StoreKeyEvent, StoreProgressEndEvent, StoreSetEvent
from encore_storage.streams import BufferIteratorIO, tee

T = TypeVar("T")
Way = Callable[[Any], Any]


def pickled(protocol: int) -> Way:
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


PICKLES: dict[str, Way] = {f"pickle {protocol}": pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
COPIES: dict[str, Way] = {"copy": copy.copy, "deepcopy": copy.deepcopy}
WAYS = {**PICKLES, **COPIES}

LOCK = threading.Lock()
ARGUMENTS: dict[str, Any] = {
    "str": "words",
    "str | None": None,
    "int": 7,
    "float": 0.3,
    "bool": True,
    "object": LOCK,
    "type": int,
    "Path": Path("folder") / "file",
    "Iterable[str]": ["fsspec"],
}
"""An argument for each annotation of the parameters of errors."""


def classes(base: type[T]) -> Iterator[type[T]]:
    """Yield the subclasses of `base` that the packages define."""
    for package in (encore_events, encore_run, encore_storage):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                members = vars(importlib.import_module(module.name)).values()
                yield from (
                    each
                    for each in members
                    if isinstance(each, type) and issubclass(each, base) and each.__module__ == module.name
                )


ERRORS = sorted(classes(BaseException), key=lambda cls: cls.__qualname__)
EVENTS = sorted(classes(BaseEvent), key=lambda cls: cls.__qualname__)


def made(cls: type[BaseException]) -> BaseException:
    """Return an error of the class, with an argument for each parameter."""
    if "__init__" not in {name for base in cls.__mro__ if base.__module__.startswith("encore") for name in vars(base)}:
        return cls("words", 7, LOCK) if not issubclass(cls, OSError) else cls(2, "words", "file")
    parameters = inspect.signature(cls).parameters.values()
    given = {each.name: ARGUMENTS[each.annotation] for each in parameters if each.default is each.empty}
    return cls(**given)


def is_portable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except TypeError:
        return False
    return True


def ported(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value if is_portable(value) else repr(value) for name, value in state.items()}


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback, a context and a note."""
    try:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            error.add_note("a note")
            raise error from None
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__qualname__)
def test_error_comes_out_of_pickles_and_copies_as_it_went_in(cls: type[BaseException]) -> None:
    error = raised(made(cls))
    for name, way in WAYS.items():
        again = way(error)

        assert type(again) is cls, name
        assert again is not error
        assert len(again.args) == len(error.args)
        if LOCK in error.args:
            assert again.args[-1] == (repr(LOCK) if name in PICKLES else LOCK)
        else:
            assert str(again) == str(error)
        assert vars(again) == (ported(vars(error)) if name in PICKLES else vars(error))
        assert again.__notes__ == ["a note"]
        for attribute in ("errno", "strerror", "filename", "name", "error_type", "status"):
            assert getattr(again, attribute, None) == getattr(error, attribute, None)


def test_sweep_finds_the_errors_and_events_of_the_packages() -> None:
    assert {EncoreError, KeyNotFoundError, UnpicklableError, RecordedInterruption, ClientError} < set(ERRORS)
    assert {BaseEvent, ListenerErrorEvent, StoreProgressEndEvent, GenericEvent} < set(EVENTS)
    assert len(ERRORS) > 50
    assert len(EVENTS) > 20


class Custom(KeyNotFoundError):  # noqa: N818 (as a program names it)
    """A program's error with an `__init__` of its own, and attributes that can't be pickled."""

    def __init__(self, a: int, *, b: object) -> None:
        super().__init__(str(a), "store")
        self.a = a
        self.b = b


class Unreadable(Exception):  # noqa: N818 (as a program names it)
    """A program's error that is pickled, but can't be unpickled."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Mute:
    """An object that can't be pickled, and whose `repr` raises."""

    def __reduce__(self) -> str:
        raise ValueError

    def __repr__(self) -> str:
        raise OSError


@pytest.mark.parametrize("way", PICKLES.values(), ids=PICKLES)
def test_error_of_a_program_can_be_pickled(way: Way) -> None:
    error = Custom(3, b=lambda: 1)
    again = way(error)

    assert (type(again), str(again), again.a, again.key) == (Custom, str(error), 3, "3")
    assert again.b == repr(error.b)
    assert way(Custom(1, b=Mute())).b == "<Mute>"
    assert way(Custom(1, b=Unreadable(1, 2))).b == repr(Unreadable(1, 2))
    assert way(EncoreError()).args == ()


@pytest.mark.parametrize("way", PICKLES.values(), ids=PICKLES)
def test_errors_and_events_in_a_cycle_can_be_pickled(way: Way) -> None:
    error, event = Custom(1, b=None), StoreKeyEvent("me", key="k")
    error.b, event.error = event, error  # type: ignore[attr-defined]  # any attribute

    assert str(way(error)) == str(error)
    assert way(error).b.key == way(event).key == "k"
    assert way(event).error.a == 1


def test_errors_nested_deeply_are_pickled_in_bounded_time() -> None:
    error = Custom(0, b=None)
    for number in range(1, 50):
        error = Custom(number, b=error)

    assert pickle.loads(pickle.dumps(error)).b.b.b.a == 46


def test_copies_of_an_error_keep_what_cannot_be_pickled() -> None:
    error = Custom(3, b=[LOCK])
    shallow, deep = copy.copy(error), copy.deepcopy(error)

    assert shallow.b is error.b
    assert deep.b == [LOCK]
    error.b = ["changed"]
    assert copy.deepcopy(error).b is not error.b
    assert deep.b == [LOCK]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "error",
    [
        recorded_error({"type": "PoolTimeout", "message": "no", "error_type": "timeout", "errno": 5}),
        recorded_error({"type": "KeyboardInterrupt", "error_type": None}),
        RecordedError("words"),
        RecordedInterruption("words"),
        stand_in(OSError("secret"), "connection", code="SlowDown"),
        ClientError("words"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_whose_class_is_made_at_run_time_keeps_its_class(error: Any, way: Way) -> None:
    again = way(error)

    assert type(again) is type(error)
    assert (str(again), vars(again), again.error_type) == (str(error), vars(error), error.error_type)


def source_of(kind: str) -> Any:
    return {
        "store": DictMemoryStore(name="memory one", event_manager=EventManager()),
        "lock": LOCK,
        "str": "me",
        "None": None,
    }[kind]


@pytest.mark.parametrize("kind", ["store", "lock", "str", "None"])
@pytest.mark.parametrize("cls", EVENTS, ids=lambda cls: cls.__qualname__)
def test_event_comes_out_of_pickles_and_copies_as_it_went_in(cls: Any, kind: str) -> None:
    source = source_of(kind)
    event: Any = cls(
        source=source, key="k", error=raised(KeyNotFoundError("k", "s")), listener=print, odd=LOCK, type="a.b"
    )
    event.mark_as_handled()
    for name, way in WAYS.items():
        again: Any = way(event)

        assert again.__class__ is cls, name
        assert again.handled
        assert (again.key, again.listener) == ("k", print)
        assert str(again.error) == "no value under key 'k' in store 's'"
        if isinstance(event, StoreEvent):
            assert again.store == event.store
        if name in COPIES:
            assert again.source is source
            assert again.odd is LOCK
        else:
            assert again.source == ("memory one" if kind == "store" else repr(LOCK) if kind == "lock" else source)
            assert again.odd == repr(LOCK)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_events_of_a_store_come_out_as_they_went_in(tmp_path: Path, way: Way) -> None:
    manager = EventManager()
    recorder = EventRecorder(manager)
    for store in (DictMemoryStore(event_manager=manager), SqliteStore(tmp_path / "a.db", event_manager=manager)):
        with store.transaction("import"):
            store.set("a", (io.BytesIO(b"1"), {"kind": "x"}))
            store.exists("b")
        with pytest.raises(KeyNotFoundError):
            store.to_bytes("b")
    codec = EventCodec()

    for event in recorder.events:
        again = way(event)
        assert type(again) is type(event)
        assert repr(again) == repr(event)
        assert again.store == event.store  # type: ignore[attr-defined]  # all are of stores
        assert codec.decode(codec.encode(again)).event.store == event.store  # type: ignore[attr-defined]  # as above
        assert getattr(again, "metadata", None) == getattr(event, "metadata", None)
    assert len(recorder.events) > 10


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_copied_event_can_be_emitted(way: Way) -> None:
    manager = EventManager()
    event = StoreSetEvent("source", key="a")
    manager.deliver(event)
    with EventRecorder(manager) as recorder:
        manager.deliver(way(event))

    assert recorder.one(StoreSetEvent).key == "a"


@pytest.mark.parametrize("way", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("type_", ["org.other.Thing", "encore.unknown.thing", "odd type"])
def test_event_of_an_unknown_type_keeps_its_class(type_: str, way: Way) -> None:
    event: Any = recorded_event(type_)
    again = way(event)

    assert type(again) is type(event)
    assert (again.type, again.data) == (type_, None)


def test_deep_copy_of_an_event_shares_no_attributes() -> None:
    event = StoreKeyEvent("me", metadata={"tags": [1]}, again=None)
    event.again = event  # type: ignore[attr-defined]  # a cycle
    copied: Any = copy.deepcopy(event)

    assert copied.again is copied
    assert copied.metadata == {"tags": [1]}
    assert copied.metadata["tags"] is not event.metadata["tags"]  # type: ignore[index]  # it is set


def test_progress_event_pickles_its_source() -> None:
    manager = EventManager()
    with EventRecorder(manager) as recorder, ProgressManager(manager, message="counting") as progress:
        progress(1)

    sources = {pickle.loads(pickle.dumps(event)).source for event in recorder.events}
    assert len(recorder.events) == 3
    assert all(source.startswith("<ProgressManager: 'counting'") for source in sources)


def read(store: Any, key: str) -> bytes:
    return bytes(store.to_bytes(key))


@pytest.fixture
def is_default(monkeypatch: pytest.MonkeyPatch) -> EventManager:
    """Return an event manager that is the default."""
    manager = EventManager()
    monkeypatch.setitem(default._default, "manager", manager)
    return manager


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_file_store_pickles_as_its_arguments(tmp_path: Path, way: Way, is_default: EventManager) -> None:
    for store in (
        FileSystemStore(tmp_path / "folder", name="files", durable=True, timeout=3, event_manager=is_default),
        SqliteStore(tmp_path / "a.db", name="database", timeout=3),
    ):
        store.from_bytes("a", b"1")
        again = way(store)

        assert type(again) is type(store)
        assert again is not store
        assert (again.name, again.timeout, again.info()) == (store.name, 3, store.info())
        assert again.event_manager is is_default
        assert again.to_bytes("a") == b"1"
        again.disconnect()
        store.disconnect()


def test_missing_directory_is_not_created_by_a_pickle_of_a_store_that_may_not(
    tmp_path: Path, is_default: EventManager
) -> None:
    (tmp_path / "folder").mkdir()
    data = pickle.dumps(FileSystemStore(tmp_path / "folder", create=False))
    (tmp_path / "folder").rmdir()

    with pytest.raises(encore_storage.StoreConnectionError):
        pickle.loads(data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_store_that_would_lose_something_refuses(tmp_path: Path, way: Way) -> None:
    manager = EventManager()
    lost, own = "would not have its values", "an event manager that is not the default"
    for store, reason in (
        (DictMemoryStore(event_manager=manager), lost),
        (SqliteStore(event_manager=manager), lost),
        (SqliteStore(tmp_path / "a.db", event_manager=manager), own),
        (FileSystemStore(tmp_path / "folder", event_manager=manager), own),
    ):
        with pytest.raises(
            UnpicklableError, match=f"cannot pickle or copy .*{store.name}.*{reason}.*: make|{reason}; make"
        ):
            way(store)
        store.disconnect()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_open_values_and_streams_refuse(tmp_path: Path, way: Way) -> None:
    store = DictMemoryStore(event_manager=EventManager())
    store.from_bytes("a", b"1")
    (tmp_path / "file").write_bytes(b"1")
    opened = store.get("a")
    opened.data.read(1)
    with (tmp_path / "file").open("rb") as file:
        for value in (
            *(store.get("a"), opened, store.get_data("a"), store.get("a").range(0, 1), store.query()),
            *(BufferIteratorIO([b"1"]), tee(io.BytesIO())[0], Value(file), Value(BufferIteratorIO([b"1"]))),
        ):
            with pytest.raises(UnpicklableError, match=r"cannot pickle or copy <.*pickle "):
                way(value)
        opened.close()


@pytest.mark.parametrize("way", list(PICKLES.values())[2:], ids=list(PICKLES)[2:])
def test_value_of_bytes_in_memory_can_be_pickled(way: Way) -> None:
    value = way(Value(io.BytesIO(b"bytes"), {"kind": "x"}, size=5))

    assert (value.data.read(), value.metadata, value.size) == (b"bytes", {"kind": "x"}, 5)


def read_missing(directory: str) -> bytes:
    return FileSystemStore(directory, event_manager=EventManager()).to_bytes("missing")


def test_errors_of_stores_come_out_of_process_pools(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(KeyNotFoundError, match="no value under key 'missing' in store 'filesystem'") as caught:
            pool.submit(read_missing, str(tmp_path)).result(60)
        assert (caught.value.key, caught.value.store) == ("missing", "filesystem")
