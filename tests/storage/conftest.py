"""Fixtures that run a test once for each kind of store."""

from __future__ import annotations

import _thread
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import STORES, TRANSACTIONAL, MakeStore, RecordingStore, Transactional

NOBODY = 65534
"""The user id of an unprivileged user."""

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def traced_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace threads started by `_thread` too. Only `threading` passes on the trace function that coverage needs."""
    start_new_thread = _thread.start_new_thread

    def start(func: Callable[..., object], args: tuple[Any, ...]) -> int:
        return start_new_thread(traced, (func, *args))

    monkeypatch.setattr(_thread, "start_new_thread", start)


def traced(func: Callable[..., object], *args: Any) -> None:
    """Call the function with the trace function of `threading.settrace`."""
    sys.settrace(threading.gettrace())  # pragma: no cover  # tracing starts with the next call
    func(*args)  # pragma: no cover  # as above


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in memory if the system has one: its tests create hundreds of stores."""
    if not SHARED_MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        yield Path(directory)


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of store under test."""
    return str(request.param)


@pytest.fixture
def make_store(kind: str, tmp_path: Path, manager: EventManager) -> Iterator[MakeStore]:
    """Yield a factory of stores of the kind under test."""
    with ExitStack() as stores:

        def make(place: str = "archive", **options: Any) -> AbstractStore:
            options = {"name": place, "event_manager": manager, **options}
            return stores.enter_context(STORES[kind](tmp_path / place, **options))

        yield make


@pytest.fixture
def store(make_store: MakeStore) -> AbstractStore:
    return make_store()


@pytest.fixture(params=["recording", *TRANSACTIONAL])
def make_transactional(
    request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager
) -> Iterator[Callable[..., Transactional]]:
    """Yield a factory of each transactional store, the minimal `RecordingStore` included."""
    with ExitStack() as stores:

        def make(**options: Any) -> Transactional:
            if request.param == "recording":
                return RecordingStore(event_manager=manager, **options)
            store = STORES[request.param](tmp_path / "archive", name="archive", event_manager=manager, **options)
            return stores.enter_context(store)

        yield make


@pytest.fixture
def transactional(make_transactional: Callable[..., Transactional]) -> Transactional:
    return make_transactional()


@pytest.fixture(params=TRANSACTIONAL)
def archive(request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager) -> Iterator[AbstractStore]:
    """Yield a transactional store that keeps values."""
    with STORES[request.param](tmp_path / "archive", name="archive", event_manager=manager) as store:
        yield store


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of eight other threads."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield pool


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Run the test as a user subject to permissions, and yield a directory of that user."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        if user == 0:
            os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield path
        finally:
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o700)
            os.seteuid(user)
