"""A signal handler that uses a store at any call is served or refused at once, and nothing is lost."""

from __future__ import annotations

import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import StoreError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.stores.abstract import AbstractStore
from tests.storage.support import LONG, STORES
from tests.storage.sweeps import PACKAGES

SOON = 10.0
"""Seconds that a handler may take: it never waits, but a disk may be busy."""

Act = Callable[[AbstractStore], object]


def write_in_a_transaction(store: AbstractStore) -> None:
    with store.transaction("of the handler"):
        store.from_bytes("mark", b"1")
        store.set_metadata("mark", {"by": "handler"})


ACTS: dict[str, Act] = {
    "write": lambda store: store.from_bytes("mark", b"1"),
    "transaction": write_in_a_transaction,
    "read": lambda store: (store.to_bytes("kept"), list(store.query_keys())),
}


def in_a_transaction(store: AbstractStore) -> None:
    with store.transaction("t"):
        store.from_bytes("a", b"new")


def rolled_back(store: AbstractStore) -> None:
    with suppress(OSError), store.transaction("t"):
        store.from_bytes("a", b"new")
        raise OSError("no room")


CALLS: dict[str, Act] = {
    "set": lambda store: store.set("a", (io.BytesIO(b"new"), {"v": 2})),
    "delete": lambda store: store.delete("a"),
    "get": lambda store: store.to_bytes("a"),
    "query": lambda store: list(store.query()),
    "transaction": in_a_transaction,
    "rollback": rolled_back,
}

WHICH = {"memory": ("same", "other"), "sqlite": ("same", "beside", "other"), "sqlite in memory": ("same", "other")}


class Signalled:
    """A trace function that raises a signal at one call of the library, and never again."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if self.left > 0 and frame.f_code.co_filename.startswith(PACKAGES):
            self.left -= 1
            if not self.left:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)


class Scene:
    """A store, one that the handler uses, and what became of that."""

    def __init__(self, kind: str, which: str, path: Path) -> None:
        self.manager = EventManager()
        self.store = STORES[kind](path / "store", event_manager=self.manager)
        self.used = self.store
        if which != "same":
            self.used = STORES[kind](path / ("store" if which == "beside" else "other"), event_manager=self.manager)
        for store in {self.store, self.used}:
            for key in ("a", "kept"):
                store.from_bytes(key, b"old")
        self.recorder = EventRecorder(self.manager)
        self.served: bool | None = None
        self.took = 0.0

    def handler(self, act: Act) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            began = time.monotonic()
            try:
                act(self.used)
                self.served = True
            except StoreError:
                self.served = False
            self.took = time.monotonic() - began

        return handle

    def check(self, *, writes: bool, may_be_undone: bool) -> None:
        assert self.took < SOON
        told = [event.action for event in self.recorder.of(StoreModificationEvent) if event.key == "mark"]
        there = self.used.exists("mark")
        if self.served and writes:
            assert there or may_be_undone
        assert bool(told) == there
        assert told.count("set") <= 1
        assert self.ids(StoreProgressStartEvent) == self.ids(StoreProgressEndEvent)
        for store in {self.store, self.used}:
            self.another_thread_writes(store)
            store.disconnect()

    def ids(self, cls: type[Any]) -> list[str]:
        return sorted(event.operation_id for event in self.recorder.of(cls))

    def another_thread_writes(self, store: AbstractStore) -> None:
        thread = threading.Thread(target=store.from_bytes, args=("next", b"1"), daemon=True)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive(), "the store is locked"


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """A block in which the handler is that of SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def signalled(call: Callable[[], object], at: int) -> bool:
    """Make the call, with a signal at one of its calls; return whether it had so many."""
    trace, before = Signalled(at), sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return trace.left <= 0


KINDS = [(kind, which) for kind, every in WHICH.items() for which in every]

STRIDE = 13
"""A signal comes at one call in so many; at each in the campaign."""


def swept(kind: str, which: str, name: str, directory: Path, *, stride: int, first: int = 1) -> int:
    """Have signals come at calls in turn, whose handler does one thing after the other; return how many came."""
    acts = list(ACTS)
    for number in count():
        act = acts[number % len(acts)]
        (path := directory / str(number)).mkdir()
        scene = Scene(kind, which, path)
        with handled(scene.handler(ACTS[act])):
            has_come = signalled(lambda scene=scene: CALLS[name](scene.store), first + number * stride)  # type: ignore[misc] # mypy knows no such lambda
        there = scene.store.to_bytes("a") if scene.store.exists("a") else None
        assert there == {"delete": None, "get": b"old", "query": b"old", "rollback": b"old"}.get(name, b"new")
        scene.check(writes=act != "read", may_be_undone=name == "rollback" and which == "same")
        if not has_come:
            return number
    raise AssertionError


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("kind", "which"), KINDS)
def test_a_handler_at_any_call_is_served_or_refused_at_once_and_the_call_goes_on(
    kind: str, which: str, name: str, tmp_path: Path
) -> None:
    assert swept(kind, which, name, tmp_path, stride=STRIDE) > 1
