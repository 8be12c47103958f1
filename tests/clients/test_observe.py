"""`observe()` finds the client of a target, or waits until its library is imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import sqlite3
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EncoreError, EventManager
from encore_storage import monitor
from encore_storage.clients import Client, Options, UnsupportedClientError, observe, unobserve
from encore_storage.clients.imports import ImportHook
from tests.forking import until

LIBRARY = '''
class Shelf:
    """A client."""
'''


class ShelfClient:
    """A client in another package; it records what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def accepts(self, target: object) -> bool:
        return type(target).__name__ == "Shelf"

    def observe(self, target: Any, options: Options) -> Any:
        self.calls.append(("observe", options.name))
        return target

    def unobserve(self, target: Any) -> Any:
        self.calls.append(("unobserve", None))
        return target

    def observe_library(self, options: Options) -> None:
        self.calls.append(("observe_library", options.name))

    def unobserve_library(self) -> None:
        self.calls.append(("unobserve_library", None))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ShelfClient]:
    """A client that an entry point adds, of a library that is not imported yet."""
    client = ShelfClient()
    (tmp_path / "encore_test_shelves.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    entry = types.SimpleNamespace(name="encore_test_shelves", load=lambda: lambda: client)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    module = sys.modules["encore_storage.clients.observe"]
    monkeypatch.setattr(module, "_clients", type(module._clients)())
    monkeypatch.setattr(module, "_BUILT_IN", {})
    before = list(sys.meta_path)
    yield client
    sys.modules.pop("encore_test_shelves", None)
    assert sys.meta_path == before


def imported() -> Any:
    return importlib.import_module("encore_test_shelves")


def test_object_of_a_library_is_observed_by_its_client(client: ShelfClient, manager: EventManager) -> None:
    shelf = imported().Shelf()

    assert observe(shelf, name="books", event_manager=manager) is shelf
    assert unobserve(shelf) is shelf
    assert client.calls == [("observe", "books"), ("unobserve", None)]


def test_object_of_a_derived_class_is_observed_as_its_base_would_be(client: ShelfClient) -> None:
    shelf = type("Shelf", (imported().Shelf,), {"__module__": "of_a_program"})()

    assert observe(shelf) is shelf
    assert client.calls == [("observe", None)]


def test_module_stands_for_all_objects_of_the_library(client: ShelfClient) -> None:
    module = imported()

    assert observe(module) is module
    assert unobserve(module) is module
    assert client.calls == [("observe_library", None), ("unobserve_library", None)]


def test_without_a_target_a_library_is_observed_when_it_is_imported(client: ShelfClient) -> None:
    observe(name="all")
    assert client.calls == []
    module = imported()

    assert client.calls == [("observe_library", "all")]
    assert module.__spec__.loader is module.__loader__
    assert type(module.__loader__).__module__ == "_frozen_importlib_external"
    assert module.Shelf is not None
    unobserve()
    assert client.calls == [("observe_library", "all"), ("unobserve_library", None)]


def test_unobserve_removes_the_import_hook(client: ShelfClient) -> None:
    observe()
    unobserve()
    imported()

    assert client.calls == []


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("postgresql://user:secret@host/orders", "an object of 'str'"),
        (sqlite3.Connection, "the class 'sqlite3.Connection'"),
        (dict, "the class 'dict'"),
        ({}, "an object of 'dict'"),
        (sqlite3, "the module 'sqlite3'"),
    ],
    ids=["url", "class", "dict", "object", "module"],
)
def test_refusal_names_the_kind_of_the_target_and_what_to_pass(target: object, kind: str) -> None:
    with pytest.raises(UnsupportedClientError) as caught:
        observe(target)

    assert str(caught.value).startswith(f"cannot observe {kind}: pass one of these modules or an object of it: ")
    assert "boto3 (client, resource, session), " in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 5}, TypeError, "name must be a str, such as 'orders', not 5"),
        ({"name": ""}, ValueError, "name must not be empty"),
        (
            {"name": "postgresql://user:secret@host/orders"},
            ValueError,
            "name must not be a URL with a user or password",
        ),
        ({"error_text": "no"}, TypeError, "error_text must be True or False, not 'no'"),
        ({"event_manager": EventManager}, TypeError, "an event manager was expected"),
    ],
)
def test_wrong_argument_is_refused(arguments: Any, error: type[Exception], message: str, client: ShelfClient) -> None:
    with pytest.raises(error, match=message) as caught:
        observe(imported().Shelf(), **arguments)

    assert "secret" not in str(caught.value)
    assert client.calls == []


@pytest.mark.parametrize("target", [object(), "s3", 1, EventManager(), types], ids=lambda target: type(target).__name__)
def test_unsupported_target_is_refused_with_what_is_supported(client: ShelfClient, target: object) -> None:
    for call in (observe, unobserve):
        with pytest.raises(UnsupportedClientError, match="encore_test_shelves") as caught:
            call(target)

        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, EncoreError)
        assert "StoreObserver" in str(caught.value)


def test_event_manager_is_checked(client: ShelfClient) -> None:
    with pytest.raises(TypeError, match="event manager"):
        observe(imported().Shelf(), event_manager="bus")  # type: ignore[arg-type]  # that is the mistake


def test_client_is_a_protocol_that_a_class_can_follow() -> None:
    client: Client = ShelfClient()

    assert not client.accepts(1)


def test_failing_client_does_not_fail_the_import(client: ShelfClient, caplog: pytest.LogCaptureFixture) -> None:
    client.observe_library = lambda options: 1 / 0  # type: ignore[method-assign, assignment]  # it fails
    observe()
    imported()

    assert "could not observe 'encore_test_shelves'" in caplog.text


SLOW = """
import sys
from encore_storage.clients.imports import ImportHook
from tests.forking import until
begun = True
until(lambda: any(isinstance(finder, ImportHook) for finder in sys.meta_path))
class Shelf:
    pass
"""


def test_library_that_another_thread_is_importing_is_observed_once_it_is_complete(
    client: ShelfClient, tmp_path: Path
) -> None:
    (tmp_path / "encore_test_shelves.py").write_text(SLOW)
    complete = list[bool]()

    def observe_library(options: Options) -> None:
        complete.append(hasattr(sys.modules["encore_test_shelves"], "Shelf"))

    client.observe_library = observe_library  # type: ignore[method-assign]  # it looks at the library
    thread = threading.Thread(target=imported)
    thread.start()
    until(lambda: hasattr(sys.modules.get("encore_test_shelves"), "begun"))
    observe()
    thread.join()

    assert complete == [True]


def test_failing_import_stays_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "encore_test_broken.py"
    path.write_text("raise OSError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    hook, calls = ImportHook(), list[str]()
    hook.call_after_import("encore_test_broken", lambda: calls.append("called"))
    with pytest.raises(OSError, match="broken"):
        importlib.import_module("encore_test_broken")
    assert calls == []

    path.write_text("answer = 42")
    importlib.invalidate_caches()
    assert importlib.import_module("encore_test_broken").answer == 42
    assert calls == ["called"]
    assert hook not in sys.meta_path


def test_missing_library_is_an_import_error_as_without_the_hook() -> None:
    hook = ImportHook()
    hook.call_after_import("encore_test_missing", list)
    with pytest.raises(ModuleNotFoundError, match="encore_test_missing"):
        importlib.import_module("encore_test_missing")
    hook.remove("encore_test_missing")

    assert hook not in sys.meta_path


@pytest.mark.parametrize("as_module", [False, True])
def test_monitor_observes_until_it_is_closed(as_module: bool, client: ShelfClient, manager: EventManager) -> None:
    module = imported()
    target = module if as_module else module.Shelf()
    with monitor(manager, logs=False, metrics=False, observe=[target]):
        assert [call for call, _ in client.calls] == ["observe_library" if as_module else "observe"]

    assert [call for call, _ in client.calls[1:]] == ["unobserve_library" if as_module else "unobserve"]


def test_monitor_observes_every_library(client: ShelfClient, manager: EventManager) -> None:
    with monitor(manager, logs=False, metrics=False, observe=True):
        imported()
        assert client.calls == [("observe_library", None)]

    assert client.calls[1:] == [("unobserve_library", None)]


def test_monitor_of_an_unsupported_target_leaves_nothing_connected(client: ShelfClient, manager: EventManager) -> None:
    with pytest.raises(UnsupportedClientError):
        monitor(manager, logs=False, registry=CollectorRegistry(), observe=[imported().Shelf(), object()])

    assert not manager.has_listeners(BaseEvent)
    assert [call for call, _ in client.calls] == ["observe", "unobserve"]
