"""One contract for all stores: nearly every test here takes one `store` after the other."""

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


@pytest.fixture(autouse=True)
def traced_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets coverage see the threads that are started without `threading`, which hands its trace function on."""
    start_new_thread = _thread.start_new_thread

    def start(func: Callable[..., object], args: tuple[Any, ...]) -> int:
        return start_new_thread(traced, (func, *args))

    monkeypatch.setattr(_thread, "start_new_thread", start)


def traced(func: Callable[..., object], *args: Any) -> None:
    """Call the function, traced as `threading.settrace` says."""
    sys.settrace(threading.gettrace())  # pragma: no cover  # it counts from the next call on
    func(*args)  # pragma: no cover  # as above


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_store(kind: str, tmp_path: Path, manager: EventManager) -> Iterator[MakeStore]:
    with ExitStack() as made:

        def made_store(place: str = "archive", **options: Any) -> AbstractStore:
            chosen = {"name": place, "event_manager": manager, **options}
            store = STORES[kind](tmp_path / place, **chosen)
            return made.enter_context(store)

        yield made_store


@pytest.fixture
def store(make_store: MakeStore) -> AbstractStore:
    return make_store()


@pytest.fixture(params=["recording", *TRANSACTIONAL])
def make_transactional(
    request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager
) -> Iterator[Callable[..., Transactional]]:
    """Makes the stores that have transactions, from the least that can be on."""
    with ExitStack() as made:

        def made_store(**options: Any) -> Transactional:
            if request.param == "recording":
                return RecordingStore(event_manager=manager, **options)
            store = STORES[request.param](tmp_path / "archive", name="archive", event_manager=manager, **options)
            return made.enter_context(store)

        yield made_store


@pytest.fixture
def transactional(make_transactional: Callable[..., Transactional]) -> Transactional:
    return make_transactional()


@pytest.fixture(params=TRANSACTIONAL)
def archive(request: pytest.FixtureRequest, tmp_path: Path, manager: EventManager) -> Iterator[AbstractStore]:
    """A store that has transactions, and values."""
    with STORES[request.param](tmp_path / "archive", name="archive", event_manager=manager) as store:
        yield store


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield pool


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user whom permissions hold back, who runs the test."""
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
