"""The context classes of transactions."""

from __future__ import annotations

from contextlib import suppress

import pytest

from encore_events import EventManager, default
from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionError
from encore_storage.events import StoreTransactionEndEvent, StoreTransactionEvent
from encore_storage.transactions.contexts import DummyTransactionContext, SimpleTransactionContext
from tests.storage.support import RecordingStore, Transactional


def test_context_can_be_reused(store: Transactional, recorder: EventRecorder) -> None:
    transaction = store.transaction("twice")
    for key in ("a", "b"):
        with transaction:
            store.from_bytes(key, b"1")

    assert [event.held for event in recorder.of(StoreTransactionEndEvent)] == [1, 1]


def test_subclass_may_override_begin_commit_and_rollback(recording: RecordingStore) -> None:
    class Custom(SimpleTransactionContext):
        def begin(self) -> None:
            recording.calls.append("BEGIN")

        def commit(self) -> None:
            recording.calls.append("COMMIT")

        def rollback(self) -> None:
            recording.calls.append("ROLLBACK")

    with Custom(recording):
        pass
    with suppress(OSError), Custom(recording):
        raise OSError("disk full")

    assert recording.calls == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK"]


def test_exit_without_enter_raises(store: Transactional) -> None:
    with pytest.raises(TransactionError, match="was not entered"):
        store.transaction().__exit__(None, None, None)


def test_store_without_name_or_manager_uses_class_name_and_default_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def _begin_transaction(self) -> None: ...

        def _commit_transaction(self) -> None: ...

    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager()) as recorder, SimpleTransactionContext(Plain()):
        pass

    assert [event.store for event in recorder.of(StoreTransactionEvent)] == ["Plain", "Plain"]


def test_repr_shows_store_and_depth(recording: RecordingStore) -> None:
    context = recording.transaction()
    with context, recording.transaction():
        assert repr(context) == "<SimpleTransactionContext of 'recording': depth 2>"
    assert repr(context) == "<SimpleTransactionContext of 'recording': depth 0>"


class TestDummy:
    """The context of a store without transactions."""

    def test_each_store_has_one_context(self, recording: RecordingStore, manager: EventManager) -> None:
        context = DummyTransactionContext(recording)

        assert DummyTransactionContext(recording) is context
        assert context.store is recording
        assert DummyTransactionContext(RecordingStore(event_manager=manager)) is not context

    def test_enter_returns_the_context_and_errors_propagate(
        self, recording: RecordingStore, recorder: EventRecorder
    ) -> None:
        context = DummyTransactionContext(recording)
        with pytest.raises(OSError, match="disk full"), context as entered, context:
            assert entered is context
            raise OSError("disk full")

        assert recording.calls == []
        assert recorder.events == []

    def test_subclass_has_its_own_context_for_each_store(self, recording: RecordingStore) -> None:
        class Custom(DummyTransactionContext):
            pass

        plain = DummyTransactionContext(recording)

        assert isinstance(Custom(recording), Custom)
        assert Custom(recording) is Custom(recording)
        assert DummyTransactionContext(recording) is plain

    def test_repr_shows_store(self, recording: RecordingStore) -> None:
        assert repr(DummyTransactionContext(recording)) == "<DummyTransactionContext of 'recording'>"
