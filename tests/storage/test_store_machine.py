"""Random calls of every store, checked against a dict after each call."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError, TransactionAbortedError
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreProgressStartEvent
from encore_storage.metadata import Metadata
from tests.storage.support import STORES, Source, put

KEYS = st.sampled_from(["a", "b", "c/d", "ä"])
DATA = st.binary(max_size=40)
METADATA = st.dictionaries(
    st.sampled_from(["n", "m"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=3,
    ),
)


class Model:
    """A store as a dict, with transactions that nest, fail and roll back."""

    def __init__(self, *, transactional: bool) -> None:
        self.values: dict[str, tuple[bytes, Metadata]] = {}
        self.changes: list[tuple[str, str]] = []
        self.depth = 0
        self._transactional = transactional
        self._before: tuple[dict[str, tuple[bytes, Metadata]], list[tuple[str, str]]]
        self._is_doomed = False

    def set(self, key: str, data: bytes | None, metadata: Metadata | None) -> None:
        old_data, old_metadata = self.values.get(key, (b"", {}))
        self.changes.append((key, "update" if key in self.values else "set"))
        self.values[key] = (old_data if data is None else data, old_metadata if metadata is None else metadata)

    def delete(self, key: str) -> None:
        del self.values[key]
        self.changes.append((key, "delete"))

    def begin(self) -> None:
        self.depth += 1
        if self.depth == 1:
            self._before = dict(self.values), list(self.changes)
            self._is_doomed = False

    def end(self, *, failed: bool) -> bool:
        """Leave a block, and return whether that raises TransactionAbortedError."""
        self.depth -= 1
        was_doomed, self._is_doomed = self._is_doomed, self._is_doomed or failed
        if not self.depth and self._is_doomed and self._transactional:
            self.values, self.changes = self._before
            return was_doomed and not failed
        return False


class StoreMachine(RuleBasedStateMachine):
    """The calls of a store of one kind."""

    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.manager = EventManager(strict=True)
        self.recorder = EventRecorder(self.manager)
        self.store = STORES[self.kind](Path(self.folder.name) / "archive", event_manager=self.manager)
        self.model = Model(transactional=self.store.transactional)
        self.contexts: list[Any] = []

    @contextmanager
    def raising_if_missing(self, key: str) -> Iterator[None]:
        """Expect KeyNotFoundError in the block if the model has no such key."""
        if key in self.model.values:
            yield
            return
        with pytest.raises(KeyNotFoundError):
            yield

    @rule(key=KEYS, data=DATA, metadata=METADATA)
    def set(self, key: str, data: bytes, metadata: Metadata) -> None:
        put(self.store, key, data, metadata)
        self.model.set(key, data, copy.deepcopy(metadata))
        metadata["n"] = "changed by the caller"

    @rule(key=KEYS, data=DATA)
    def set_data(self, key: str, data: bytes) -> None:
        self.store.set_data(key, Source(data[:7], data[7:]) if len(data) > 7 else Source(data))
        self.model.set(key, data, None)

    @rule(key=KEYS, metadata=METADATA)
    def set_metadata(self, key: str, metadata: Metadata) -> None:
        self.store.set_metadata(key, metadata)
        self.model.set(key, None, metadata)

    @rule(key=KEYS, metadata=METADATA)
    def update_metadata(self, key: str, metadata: Metadata) -> None:
        with self.raising_if_missing(key):
            self.store.update_metadata(key, metadata)
        if key in self.model.values:
            self.model.set(key, None, {**self.model.values[key][1], **metadata})

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        with self.raising_if_missing(key):
            self.store.delete(key)
        if key in self.model.values:
            self.model.delete(key)

    @rule(key=KEYS, other=KEYS)
    def copy(self, key: str, other: str) -> None:
        with self.raising_if_missing(key):
            self.store.set(other, self.store.get(key))
        if key in self.model.values:
            self.model.set(other, *self.model.values[key])

    @rule(key=KEYS, data=DATA)
    def set_from_a_failing_source(self, key: str, data: bytes) -> None:
        with pytest.raises(OSError, match="cable"):
            self.store.set(key, (Source(data or b"1", OSError("cable")), {"n": 0}))

    @rule(key=KEYS, start=st.integers(0, 45), end=st.none() | st.integers(0, 45))
    def read_a_range(self, key: str, start: int, end: int | None) -> None:
        with self.raising_if_missing(key), self.store.get_data_range(key, start, end) as data:
            assert data.read() == self.model.values[key][0][start:end]

    @rule(n=st.none() | st.booleans() | st.integers(0, 1))
    def query(self, n: object) -> None:
        expected = [key for key, (_, metadata) in self.model.values.items() if "n" in metadata and metadata["n"] == n]
        assert sorted(self.store.query_keys(n=n)) == sorted(expected)

    @rule()
    def begin(self) -> None:
        context = self.store.transaction()
        context.__enter__()
        self.contexts.append(context)
        self.model.begin()

    @precondition(lambda self: self.contexts)
    @rule(failed=st.booleans())
    def end(self, failed: bool) -> None:
        context = self.contexts.pop()
        error = ValueError("raised in the block") if failed else None
        if self.model.end(failed=failed):
            with pytest.raises(TransactionAbortedError):
                context.__exit__(None, None, None)
        else:
            assert not context.__exit__(error and type(error), error, None)

    @precondition(lambda self: self.contexts)
    @rule()
    def swallow_an_inner_failure(self) -> None:
        self.begin()
        self.end(failed=True)

    @precondition(lambda self: not self.contexts and self.kind != "sqlite in memory")
    @rule()
    def reconnect(self) -> None:
        self.store.disconnect()
        self.store.connect()

    @invariant()
    def values_agree(self) -> None:
        assert dict(self.store.query()) == {key: metadata for key, (_, metadata) in self.model.values.items()}
        for key, (data, _) in self.model.values.items():
            assert self.store.to_bytes(key) == data

    @invariant()
    def events_agree(self) -> None:
        starts, ends = self.recorder.of(StoreProgressStartEvent), self.recorder.of(StoreProgressEndEvent)
        assert sorted(event.operation_id for event in starts) == sorted(event.operation_id for event in ends)
        if not self.contexts:
            changes = [(event.key, event.action) for event in self.recorder.of(StoreModificationEvent)]
            assert changes == self.model.changes

    def teardown(self) -> None:
        while self.contexts:
            self.end(failed=True)
        self.values_agree()
        self.events_agree()
        self.store.disconnect()
        self.folder.cleanup()


@pytest.mark.parametrize("kind", STORES)
def test_store_behaves_like_a_dict(kind: str) -> None:
    machine = type("Machine", (StoreMachine,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=25))
