"""The path from a store to its listeners: a get and a transaction, compared with the same events emitted by hand."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.harness import Bench, Snippet
from benchmarks.metrics import SIZE, store_on, with_metrics
from encore_events import BaseEvent, EventManager
from encore_events.ids import new_id
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores import DictMemoryStore

Pair = tuple[Snippet, Snippet]

PROGRESS = StoreProgressStartEvent, StoreProgressEndEvent


def benches() -> Iterator[Bench]:
    """Yield the rows of operations and transactions."""
    name = "a get of 4 KiB from memory, {}, against {}"
    yield Bench(name.format("listened to", "the same two events by hand"), partial(get, listened_to), 2.1)
    yield Bench(name.format("nobody listens", "a dict and io.BytesIO"), partial(get, EventManager), 65)
    name = "an empty transaction, {}, against a context manager with the same events by hand"
    yield Bench(name.format("nobody listens"), partial(transaction, EventManager), 8.5)
    yield Bench(name.format("with metrics"), partial(transaction, with_metrics), 2.6)


def get(make_manager: Callable[[], EventManager]) -> Pair:
    """Compare a get with a look-up that emits the events, if they have listeners."""
    manager = make_manager()
    peer = ByHand(manager)
    return (
        Snippet("store.get_data('key').read()", store=store_on(manager)),
        Snippet("peer.get('key')" if manager.has_listeners(PROGRESS[1]) else "peer.silent_get('key')", peer=peer),
    )


def transaction(make_manager: Callable[[], EventManager]) -> Pair:
    """Compare an empty transaction with a context manager that emits the events, if they have listeners."""
    manager = make_manager()
    return (
        Snippet(
            "with store.transaction('notes'):\n    pass", store=DictMemoryStore(name="bench", event_manager=manager)
        ),
        Snippet("with peer.transaction('notes'):\n    pass", peer=ByHand(manager)),
    )


def listened_to() -> EventManager:
    """Return an event manager with one empty listener of each start and one of each end of an operation."""
    manager = EventManager()
    for cls in PROGRESS:
        manager.connect(cls, _ignore)
    return manager


class ByHand:
    """A dict whose owner emits the events of a store by hand."""

    def __init__(self, manager: EventManager) -> None:
        self._manager = manager
        self._values = {"key": bytes(SIZE)}

    def silent_get(self, key: str) -> bytes:
        """Return a value by way of a file."""
        return io.BytesIO(self._values[key]).read()

    def get(self, key: str) -> bytes:
        """Return a value between two events."""
        manager, started = self._manager, time.monotonic()
        identity = {
            "source": self,
            "store": "bench",
            "operation": "get",
            "direction": "read",
            "key": key,
            "operation_id": new_id(),
            "transaction_id": None,
            "message": f"get {key}",
            "timestamp": time.time(),
        }
        manager.emit(StoreProgressStartEvent(steps=-1, **identity))
        data = self.silent_get(key)
        end = {
            "exit_state": "normal",
            "outcome": "ok",
            "bytes": len(data),
            "delta": len(data),
            "duration": time.monotonic() - started,
            "error": None,
            "error_type": None,
        }
        manager.emit(StoreProgressEndEvent(steps=len(data), **identity, **end))
        return data

    @contextmanager
    def transaction(self, notes: str) -> Iterator[None]:
        """Return a block between two events."""
        manager, started = self._manager, time.monotonic()
        identity = {"source": self, "store": "bench", "transaction_id": new_id(), "notes": notes}
        if manager.has_listeners(StoreTransactionStartEvent):
            manager.emit(StoreTransactionStartEvent(timestamp=time.time(), **identity))
        state, outcome, failure = "done", "committed", None
        try:
            yield
        except BaseException as error:
            state, outcome, failure = "failed", "rolled_back", error
            raise
        finally:
            if manager.has_listeners(StoreTransactionEndEvent):
                end = {"state": state, "outcome": outcome, "operations": 0, "held": 0, "error": failure}
                duration = time.monotonic() - started
                manager.emit(StoreTransactionEndEvent(duration=duration, commit_duration=duration, **end, **identity))


def _ignore(_: BaseEvent) -> None:
    """Do nothing."""
