"""A signal handler may use a store during any call: its own call succeeds or fails at once, and nothing is lost."""

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
"""The time limit of a handler, in seconds. It never waits, but a disk may be busy."""

Act = Callable[[AbstractStore], object]


def write_in_a_transaction(store: AbstractStore) -> None:
    with store.transaction("handler"):
        store.from_bytes("mark", b"1")
        store.set_metadata("mark", {"by": "handler"})


ACTS: dict[str, Act] = {
    "write": lambda store: store.from_bytes("mark", b"1"),
    "transaction": write_in_a_transaction,
    "read": lambda store: (store.to_bytes("kept"), list(store.query_keys())),
}


def write_in_a_block(store: AbstractStore) -> None:
    with store.transaction("t"):
        store.from_bytes("a", b"new")


def roll_back(store: AbstractStore) -> None:
    with suppress(OSError), store.transaction("t"):
        store.from_bytes("a", b"new")
        raise OSError("disk full")


CALLS: dict[str, Act] = {
    "set": lambda store: store.set("a", (io.BytesIO(b"new"), {"v": 2})),
    "delete": lambda store: store.delete("a"),
    "get": lambda store: store.to_bytes("a"),
    "query": lambda store: list(store.query()),
    "transaction": write_in_a_block,
    "rollback": roll_back,
}

USED = {"memory": ("same", "other"), "sqlite": ("same", "same file", "other"), "sqlite in memory": ("same", "other")}
"""The stores that a handler uses, by kind: the interrupted one, one on the same file, or an independent one."""


class SignalTrace:
    """A trace function that raises one signal, at one function call of the library."""

    def __init__(self, at: int) -> None:
        self._left = at

    @property
    def was_raised(self) -> bool:
        """True if there were enough calls to raise the signal."""
        return self._left <= 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count the function call, and raise the signal if it is its turn."""
        if self._left > 0 and frame.f_code.co_filename.startswith(PACKAGES):
            self._left -= 1
            if not self._left:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)


class Scene:
    """A store, the store that the handler uses, and the handler's success.

    Attributes:
        served: True if the handler's call succeeded, False if it was refused, None if no handler ran.
        took: the duration of the handler, in seconds.
    """

    def __init__(self, kind: str, used: str, path: Path) -> None:
        self.manager = EventManager()
        self.store = STORES[kind](path / "store", event_manager=self.manager)
        self.used = self.store
        if used != "same":
            self.used = STORES[kind](path / ("store" if used == "same file" else "other"), event_manager=self.manager)
        for store in {self.store, self.used}:
            for key in ("a", "kept"):
                store.from_bytes(key, b"old")
        self.recorder = EventRecorder(self.manager)
        self.served: bool | None = None
        self.took = 0.0

    def handler(self, act: Act) -> Callable[[int, FrameType | None], None]:
        """Return a signal handler that does the act."""

        def handle(number: int, frame: FrameType | None) -> None:
            began = time.monotonic()
            try:
                act(self.used)
                self.served = True
            except StoreError:
                self.served = False
            self.took = time.monotonic() - began

        return handle

    def check(self, *, writes: bool, may_be_rolled_back: bool) -> None:
        """Assert that the events match what the store holds, and that the stores are unlocked."""
        assert self.took < SOON
        actions = [event.action for event in self.recorder.of(StoreModificationEvent) if event.key == "mark"]
        exists = self.used.exists("mark")
        if self.served and writes:
            assert exists or may_be_rolled_back
        assert bool(actions) == exists
        assert actions.count("set") <= 1
        assert self.ids(StoreProgressStartEvent) == self.ids(StoreProgressEndEvent)
        for store in {self.store, self.used}:
            self._check_another_thread_writes(store)
            store.disconnect()

    def ids(self, cls: type[Any]) -> list[str]:
        """Return the sorted operation ids of the recorded events of a class."""
        return sorted(event.operation_id for event in self.recorder.of(cls))

    def _check_another_thread_writes(self, store: AbstractStore) -> None:
        thread = threading.Thread(target=store.from_bytes, args=("next", b"1"), daemon=True)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive(), "the store is locked"


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install the handler for SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def call_signalled(call: Callable[[], object], at: int) -> bool:
    """Make the call, with a signal at its `at`-th function call. Return whether that was reached."""
    trace, before = SignalTrace(at), sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return trace.was_raised


KINDS = [(kind, used) for kind, stores in USED.items() for used in stores]

STRIDE = 13
"""The step from one interrupted call to the next. The campaign interrupts each call."""


def swept(kind: str, used: str, name: str, directory: Path, *, stride: int, first: int = 1) -> int:
    """Raise a signal at every `stride`-th function call, with each act in turn. Return the number of signals."""
    acts = list(ACTS)
    for number in count():
        act = acts[number % len(acts)]
        (path := directory / str(number)).mkdir()
        scene = Scene(kind, used, path)
        with handled(scene.handler(ACTS[act])):
            was_raised = call_signalled(lambda scene=scene: CALLS[name](scene.store), first + number * stride)  # type: ignore[misc] # mypy knows no such lambda
        data = scene.store.to_bytes("a") if scene.store.exists("a") else None
        assert data == {"delete": None, "get": b"old", "query": b"old", "rollback": b"old"}.get(name, b"new")
        scene.check(writes=act != "read", may_be_rolled_back=name == "rollback" and used == "same")
        if not was_raised:
            return number
    raise AssertionError


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("kind", "used"), KINDS)
def test_signal_handler_succeeds_or_fails_at_once_and_call_completes(
    kind: str, used: str, name: str, tmp_path: Path
) -> None:
    assert swept(kind, used, name, tmp_path, stride=STRIDE) > 1
