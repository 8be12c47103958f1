"""The contract of modification events: each change is emitted once, after it took effect."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import InvalidKeyError, KeyNotFoundError
from encore_storage.events import (
    StoreDeleteEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreUpdateEvent,
)
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import Source, content, put, snapshot
from encore_storage.transactions.writing import Write

CHANGES: dict[str, tuple[str, Callable[[AbstractStore], None], type[StoreModificationEvent]]] = {
    "set": ("_put", lambda store: put(store, "b", b"1"), StoreSetEvent),
    "set_metadata": ("_put", lambda store: store.set_metadata("a", {"n": 1}), StoreUpdateEvent),
    "update_metadata": ("_put", lambda store: store.update_metadata("a", {"n": 1}), StoreUpdateEvent),
    "delete": ("_remove", lambda store: store.delete("a"), StoreDeleteEvent),
}


class ChangeContract(ContractBase):
    """The rules of modification events and their listeners."""

    def test_set_update_and_delete_are_emitted(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """A new key emits StoreSetEvent, a known one StoreUpdateEvent, a deleted one StoreDeleteEvent.

        The metadata of the event is that of the value after the change, or that of the deleted value.
        """
        put(store, "a", b"1", {"n": 1})
        put(store, "a", b"2", {"n": 2})
        store.set_data("a", io.BytesIO(b"3"))
        store.set_metadata("a", {"n": 3})
        store.update_metadata("a", {"m": 4})
        store.delete("a")
        store.set_data("b", io.BytesIO(b"1"))
        store.set_metadata("c", {"n": 1})

        events = recorder.of(StoreModificationEvent)
        assert [(type(event), event.key, event.action, event.metadata) for event in events] == [
            (StoreSetEvent, "a", "set", {"n": 1}),
            (StoreUpdateEvent, "a", "update", {"n": 2}),
            (StoreUpdateEvent, "a", "update", {"n": 2}),
            (StoreUpdateEvent, "a", "update", {"n": 3}),
            (StoreUpdateEvent, "a", "update", {"n": 3, "m": 4}),
            (StoreDeleteEvent, "a", "delete", {"n": 3, "m": 4}),
            (StoreSetEvent, "b", "set", {}),
            (StoreSetEvent, "c", "set", {"n": 1}),
        ]
        for event in events:
            assert (event.source, event.store, event.transaction_id) == (store, "archive", None)

    def test_listener_may_use_the_store(self, store: AbstractStore, manager: EventManager) -> None:
        """A listener of a change may read the value and write to the store."""
        put(store, "a", b"1", {"n": 1})

        @manager.on(StoreSetEvent)
        def note(event: StoreSetEvent) -> None:
            if event.key == "b":
                put(store, "noted", store.to_bytes("b"))

        put(store, "b", b"2")

        assert store.to_bytes("noted") == b"2"

    @pytest.mark.usefixtures("every_step")
    def test_listener_may_read_in_the_middle_of_a_set(self, store: AbstractStore, manager: EventManager) -> None:
        """A listener of a step sees the old value until the set is complete."""
        put(store, "a", b"old", {"state": "old"})
        seen = []
        manager.connect(StoreProgressStepEvent, lambda event: seen.append(store.get_metadata("a")["state"]))

        store.set("a", (Source(b"1" * 1000, b"2" * 1000, b"3" * 1000), {"state": "new"}), buffer_size=1000)

        assert seen == ["old", "old"]
        assert store.get_metadata("a") == {"state": "new"}

    def test_store_is_free_when_the_end_is_emitted(self, store: AbstractStore, manager: EventManager) -> None:
        """When the end of a write is emitted, another thread may write: a listener may wait for it."""
        still_waits = []

        def write(event: StoreProgressEndEvent) -> None:
            thread = threading.Thread(target=store.from_bytes, args=("noted", b"1"), daemon=True)
            thread.start()
            thread.join(self.patience)
            still_waits.append(thread.is_alive())

        with manager.connect(StoreProgressEndEvent, write, {"key": "a"}):
            put(store, "a", b"1")
            store.update_metadata("a", {"n": 1})
            with contextlib.suppress(InvalidKeyError):
                store.delete("a")

        assert still_waits == [False] * 3
        assert store.to_bytes("noted") == b"1"

    @pytest.mark.parametrize(("step", "call", "cls"), CHANGES.values(), ids=CHANGES)
    def test_interrupt_after_a_change_emits_it(
        self,
        step: str,
        call: Callable[[AbstractStore], None],
        cls: type[StoreModificationEvent],
        store: AbstractStore,
        recorder: EventRecorder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A change that took effect is emitted, even if an interrupt kept the store from returning it.

        The store has announced it by `write.expect`.
        """
        put(store, "a", b"1")
        recorder.clear()
        before = snapshot(store)
        work = getattr(store, step)

        def interrupted(*arguments: Any) -> None:
            work(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(store, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(store)

        changed = [] if snapshot(store) == before else [cls]
        assert [type(event) for event in recorder.of(StoreModificationEvent)] == changed

    @pytest.mark.parametrize(("step", "call", "cls"), CHANGES.values(), ids=CHANGES)
    def test_interrupt_before_a_change_emits_nothing(
        self,
        step: str,
        call: Callable[[AbstractStore], None],
        cls: type[StoreModificationEvent],
        store: AbstractStore,
        recorder: EventRecorder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A change that an interrupt has prevented after `write.expect` is not emitted."""
        put(store, "a", b"1")
        recorder.clear()
        before, expect = snapshot(store), Write.expect

        def interrupted(write: Write, *arguments: Any, **options: Any) -> None:
            monkeypatch.undo()
            expect(write, *arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(Write, "expect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(store)

        changed = [] if snapshot(store) == before else [cls]
        assert [type(event) for event in recorder.of(StoreModificationEvent)] == changed

    def test_events_are_emitted_by_the_store(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """All events have the store as their source, and are emitted on its own event manager."""
        with store.transaction("everything"):
            put(store, "a", b"1")
            store.multiset_data(["b"], [io.BytesIO(b"2")])
        list(store.query())
        store.delete("a")
        store.exists("a")

        assert recorder.events != []
        assert {id(event.source) for event in recorder.events} == {id(store)}

    def test_store_works_without_listeners(self, store: AbstractStore) -> None:
        """A store does the same where nobody listens."""
        put(store, "a", b"1", {"n": 1})
        store.update_metadata("a", {"m": 2})
        with pytest.raises(KeyNotFoundError):
            store.delete("missing")

        assert content(store, "a") == (b"1", {"n": 1, "m": 2})
        assert list(store.glob("*")) == ["a"]
