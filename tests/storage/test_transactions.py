"""Transactions, row by row: kept as a whole or not at all, and told only once that is known."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType

import pytest

from encore_events import BaseEvent, EventManager, default
from encore_events.testing import EventRecorder
from encore_storage.errors import TransactionAbortedError, TransactionError
from encore_storage.events import (
    StoreEvent,
    StoreModificationEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
)
from encore_storage.stores import DictMemoryStore
from encore_storage.transactions.contexts import (
    DummyTransactionContext,
    SimpleTransactionContext,
    TransactionBlocks,
    TransactionState,
)
from tests.storage.support import (
    END,
    LONG,
    SET,
    START,
    RecordingStore,
    Transactional,
    recorded_names,
    set_in_transaction,
    settled,
)

Fail = Callable[..., None]

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]


class FalsyError(Exception):
    """An error that is false, as one is that counts its own parts and has none."""

    __len__ = staticmethod(lambda: 0)


@pytest.fixture
def store(transactional: Transactional) -> Transactional:
    return transactional


@pytest.fixture
def recording(manager: EventManager) -> RecordingStore:
    return RecordingStore(event_manager=manager)


@pytest.fixture
def fail(store: Transactional, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Has the next begin, commit or rollback of the store raise: instead of its work, or after it."""

    def fail(call: str, error: BaseException, *, after: bool = False) -> None:
        name = f"_{call}_transaction"
        work = getattr(store, name)

        def failing() -> None:
            monkeypatch.setattr(store, name, work)
            if after:
                work()
            raise error

        monkeypatch.setattr(store, name, failing)

    return fail


def outcome(recorder: EventRecorder) -> str:
    return recorder.one(StoreTransactionEndEvent).outcome


def shown(error: BaseException) -> str:
    """What a traceback shows of the error, and of those that it stands on."""
    return "".join(traceback.format_exception(error))


def assert_usable(store: Transactional, recorder: EventRecorder) -> None:
    """A new transaction works, in this thread and in another."""
    assert TransactionState.of(store).active is None

    recorder.clear()
    set_in_transaction(store, "here")
    with ThreadPoolExecutor() as pool:
        pool.submit(set_in_transaction, store, "there").result(LONG)
    assert store.exists("here")
    assert store.exists("there")
    assert recorded_names(recorder) == [START, END, SET] * 2


def test_a_begin_that_raises_leaves_nothing_behind(store: Transactional, recorder: EventRecorder, fail: Fail) -> None:
    fail("begin", OSError("locked"))

    with pytest.raises(OSError, match="locked"):
        set_in_transaction(store, "a")

    assert recorder.events == []
    assert not store.exists("a")
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_of_the_begin_leaves_nothing_behind(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("begin", interrupt())

    with pytest.raises(interrupt):
        set_in_transaction(store, "a")

    assert recorder.events == []
    assert_usable(store, recorder)


def test_a_block_that_ends_well_is_committed_then_told_then_its_changes_are_told_once_each_in_order(
    store: Transactional, recorder: EventRecorder
) -> None:
    with store.transaction("import"):
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"2")
        assert recorded_names(recorder) == [START]

    assert recorded_names(recorder) == [START, END, SET, SET]
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["a", "b"]
    assert store.exists("a")
    assert_usable(store, recorder)


def test_a_change_is_committed_when_it_is_told(
    store: Transactional, manager: EventManager, pool: ThreadPoolExecutor
) -> None:
    seen = []
    manager.connect(StoreSetEvent, lambda event: seen.append(pool.submit(store.exists, "a").result(LONG)))

    with store.transaction():
        store.from_bytes("a", b"1")

    assert seen == [True]


def test_both_ends_of_a_committed_transaction_say_what_it_was(store: Transactional, recorder: EventRecorder) -> None:
    with store.transaction("import of March"):
        store.from_bytes("a", b"1")

    start, end = recorder.one(StoreTransactionStartEvent), recorder.one(StoreTransactionEndEvent)
    for event in (start, end):
        assert (event.source, event.store, event.notes) == (store, store.name, "import of March")
    assert start.transaction_id == end.transaction_id
    assert start.timestamp > 1e9
    assert (end.state, end.outcome, end.error, end.held) == ("done", "committed", None, 1)
    assert end.commit_duration is not None
    assert 0 <= end.commit_duration <= end.duration


def test_a_transaction_counts_the_operations_that_are_part_of_it(
    manager: EventManager, recorder: EventRecorder
) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("before", b"1")
    with store.transaction() as transaction:
        store.from_bytes("a", b"1")
        store.exists("a")
        with store.transaction():
            store.to_bytes("a")
            store.delete("a")
        assert isinstance(transaction, SimpleTransactionContext)
        assert transaction.operations == 4
    store.exists("after")

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.operations, end.held) == (4, 2)


def test_what_is_told_in_a_transaction_carries_its_id(manager: EventManager, recorder: EventRecorder) -> None:
    store = DictMemoryStore(event_manager=manager)
    store.from_bytes("before", b"1")
    with store.transaction():
        store.from_bytes("inside", b"1")
    store.from_bytes("after", b"1")

    identity = recorder.one(StoreTransactionEndEvent).transaction_id
    by_key = {event.key: event.transaction_id for event in recorder.of(StoreModificationEvent)}
    assert by_key == {"before": None, "inside": identity, "after": None}


def test_two_transactions_have_two_ids(store: Transactional, recorder: EventRecorder) -> None:
    for _ in range(2):
        with store.transaction():
            pass

    assert len({event.transaction_id for event in recorder.of(StoreTransactionEvent)}) == 2


def test_with_gives_the_active_context(store: Transactional) -> None:
    with store.transaction("outer") as active, store.transaction("inner") as joined:
        assert isinstance(active, SimpleTransactionContext)
        assert active.notes == "outer"
        assert joined is active


def test_a_context_can_be_used_again(store: Transactional, recorder: EventRecorder) -> None:
    transaction = store.transaction("twice")
    for key in ("a", "b"):
        with transaction:
            store.from_bytes(key, b"1")

    assert [event.held for event in recorder.of(StoreTransactionEndEvent)] == [1, 1]


@pytest.mark.parametrize("error", [ValueError, FalsyError, *INTERRUPTS])
def test_a_block_that_raises_is_rolled_back_and_says_so(
    error: type[BaseException], store: Transactional, recorder: EventRecorder
) -> None:
    raised = error()
    with pytest.raises(error) as caught, store.transaction("import"):
        store.from_bytes("a", b"1")
        raise raised

    assert caught.value is raised
    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error, end.held) == ("failed", "rolled_back", raised, 1)
    assert (end.commit_duration, end.notes) == (None, "import")
    assert_usable(store, recorder)


def test_only_the_outermost_block_begins_and_commits(recording: RecordingStore, recorder: EventRecorder) -> None:
    with recording.transaction("outer"):
        with recording.transaction("middle"), recording.transaction("inner"):
            recording.from_bytes("a", b"1")
        assert recording.calls == ["begin"]

    assert recording.calls == ["begin", "commit"]
    assert recorded_names(recorder) == [START, END, SET]
    assert recorder.one(StoreTransactionEndEvent).notes == "outer"


@pytest.mark.parametrize("error", [OSError, FalsyError])
def test_an_inner_failure_that_the_outer_block_swallows_dooms_the_whole(
    error: type[Exception], store: Transactional, recorder: EventRecorder
) -> None:
    first = error("the first")
    with pytest.raises(TransactionAbortedError) as caught, store.transaction():
        store.from_bytes("a", b"1")
        with suppress(error), store.transaction():
            store.from_bytes("b", b"2")
            raise first
        with suppress(error), store.transaction():
            raise error("the second")
        with store.transaction():
            store.from_bytes("c", b"3")

    assert caught.value.__cause__ is first
    assert not any(map(store.exists, "abc"))
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "rolled_back"
    assert recorder.one(StoreTransactionEndEvent).error is caught.value
    assert_usable(store, recorder)


def test_an_inner_failure_that_leaves_the_outer_block_too_is_what_propagates(
    store: Transactional, recorder: EventRecorder
) -> None:
    raised = OSError("disk full")
    with pytest.raises(OSError, match="disk full") as caught, store.transaction(), store.transaction():
        store.from_bytes("a", b"1")
        raise raised

    assert caught.value is recorder.one(StoreTransactionEndEvent).error is raised
    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)


def test_an_error_after_a_swallowed_one_is_what_propagates(store: Transactional, recorder: EventRecorder) -> None:
    with pytest.raises(KeyError) as caught, store.transaction():
        with suppress(OSError), store.transaction():
            raise OSError("swallowed")
        raise KeyError("later")

    assert recorder.one(StoreTransactionEndEvent).error is caught.value


def test_a_commit_that_raises_is_rolled_back_and_its_changes_are_never_told(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    failure = OSError("disk full")
    fail("commit", failure)

    with pytest.raises(OSError, match="disk full") as caught, store.transaction():
        store.from_bytes("a", b"1")

    assert caught.value is failure
    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error, end.held) == ("failed", "commit_failed", failure, 1)
    assert end.commit_duration is not None
    assert_usable(store, recorder)


def test_a_commit_that_raises_tries_the_rollback(recording: RecordingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit() -> None:
        raise OSError("disk full")

    monkeypatch.setattr(recording, "_commit_transaction", commit)
    with suppress(OSError), recording.transaction():
        pass

    assert recording.calls == ["begin", "rollback"]


def test_a_rollback_that_raises_shows_both_errors_and_the_original_propagates(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(ValueError, match="bad row") as caught, store.transaction():
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")
        raise ValueError("bad row")

    assert recorded_names(recorder) == [START, END]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error) == ("failed", "rollback_failed", caught.value)
    assert "bad row" in shown(caught.value)
    assert "no way back" in shown(caught.value)
    assert_usable(store, recorder)


def test_what_a_failed_rollback_left_is_not_seen_by_others_and_gone_with_the_next_transaction(
    store: Transactional, recorder: EventRecorder, fail: Fail, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(ValueError, match="bad row"), store.transaction():
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")
        raise ValueError("bad row")

    assert_usable(store, recorder)
    assert not store.exists("a")
    assert not pool.submit(store.exists, "a").result(LONG)


def test_commit_and_rollback_may_both_raise(store: Transactional, recorder: EventRecorder, fail: Fail) -> None:
    with pytest.raises(OSError, match="disk full") as caught, store.transaction():
        fail("commit", OSError("disk full"))
        fail("rollback", RuntimeError("no way back"))
        store.from_bytes("a", b"1")

    assert outcome(recorder) == "rollback_failed"
    assert recorder.one(StoreTransactionEndEvent).error is caught.value
    assert "no way back" in shown(caught.value)
    assert recorded_names(recorder) == [START, END]
    assert_usable(store, recorder)


def test_a_doomed_transaction_whose_rollback_raises_shows_all_three(
    store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(TransactionAbortedError) as caught, store.transaction(), suppress(OSError), store.transaction():
        fail("rollback", RuntimeError("no way back"))
        raise OSError("disk full")

    assert outcome(recorder) == "rollback_failed"
    assert "disk full" in shown(caught.value)
    assert "no way back" in shown(caught.value)
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_of_the_rollback_propagates_from_the_original(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    with pytest.raises(interrupt) as caught, store.transaction():
        fail("rollback", interrupt("stop"))
        raise ValueError("bad row")

    assert "bad row" in shown(caught.value)
    assert outcome(recorder) == "rollback_failed"
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_of_a_commit_that_took_effect_is_told_as_committed_then_propagates(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("commit", interrupt(), after=True)

    with pytest.raises(interrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    end = recorder.one(StoreTransactionEndEvent)
    assert (end.state, end.outcome, end.error) == ("done", "committed", None)
    assert end.commit_duration is not None
    assert_usable(store, recorder)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_of_a_commit_that_took_no_effect_is_rolled_back_then_propagates(
    interrupt: type[BaseException], store: Transactional, recorder: EventRecorder, fail: Fail
) -> None:
    fail("commit", interrupt())

    with pytest.raises(interrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert not store.exists("a")
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "commit_failed"
    assert_usable(store, recorder)


def test_a_store_that_cannot_say_whether_the_commit_took_effect_is_rolled_back(
    manager: EventManager, recorder: EventRecorder
) -> None:
    class Speechless(RecordingStore):
        _in_transaction = None  # type: ignore[assignment]  # as a store that doesn't offer it

        def _commit_transaction(self) -> None:
            super()._commit_transaction()
            raise KeyboardInterrupt

    store = Speechless(event_manager=manager)
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.from_bytes("a", b"1")

    assert store.calls == ["begin", "commit", "rollback"]
    assert outcome(recorder) == "commit_failed"


def test_changes_of_another_store_and_other_events_are_told_at_once(
    store: Transactional, manager: EventManager, recorder: EventRecorder
) -> None:
    other = DictMemoryStore(name="other", event_manager=manager)
    with store.transaction():
        other.from_bytes("a", b"1")
        manager.emit(StoreEvent(store, store=store.name))

        assert recorder.one(StoreSetEvent).source is other
        assert "StoreEvent" in recorder.names()


def test_transactions_of_two_stores_may_cross(manager: EventManager, recorder: EventRecorder) -> None:
    first, second = (DictMemoryStore(name=name, event_manager=manager) for name in ("first", "second"))
    with pytest.raises(OSError, match="disk full"), first.transaction():
        first.from_bytes("a", b"1")
        with second.transaction():
            second.from_bytes("b", b"2")
        raise OSError("disk full")

    outcomes = {event.store: event.outcome for event in recorder.of(StoreTransactionEndEvent)}
    assert outcomes == {"first": "rolled_back", "second": "committed"}
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["b"]


def test_nobody_listens_and_all_is_kept_or_not_nevertheless(store: Transactional) -> None:
    with store.transaction():
        store.from_bytes("a", b"1")
    with suppress(OSError), store.transaction():
        store.from_bytes("b", b"1")
        raise OSError("disk full")

    assert store.exists("a")
    assert not store.exists("b")


@pytest.mark.parametrize("error", [None, OSError("disk full")], ids=["committed", "rolled_back"])
def test_the_store_is_free_when_a_listener_hears_of_the_end(
    error: OSError | None,
    store: Transactional,
    manager: EventManager,
    recorder: EventRecorder,
    pool: ThreadPoolExecutor,
) -> None:
    def note(event: BaseEvent) -> None:
        subscription.disconnect()
        store.from_bytes("noted here", b"1")
        pool.submit(store.from_bytes, "noted there", b"1").result(LONG)
        with store.transaction("in the listener"):
            store.from_bytes("noted in a transaction", b"1")

    subscription = manager.connect(StoreTransactionEndEvent, note)
    with suppress(OSError), store.transaction():
        store.from_bytes("a", b"1")
        if error is not None:
            raise error

    keys = [event.key for event in recorder.of(StoreSetEvent)]
    noted = ["noted here", "noted in a transaction", "noted there"]
    assert sorted(filter(None, keys)) == ([] if error else ["a"]) + noted
    assert_usable(store, recorder)


@pytest.mark.parametrize("cls", [StoreTransactionStartEvent, StoreTransactionEndEvent, StoreSetEvent])
def test_a_listener_that_fails_changes_nothing(
    cls: type[BaseEvent], store: Transactional, manager: EventManager, recorder: EventRecorder
) -> None:
    with manager.connect(cls, lambda event: 1 / 0), store.transaction():
        store.from_bytes("a", b"1")

    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    assert_usable(store, recorder)


def test_a_strict_event_manager_breaks_the_transaction_off_at_its_start(recorder: EventRecorder) -> None:
    manager = EventManager(strict=True)
    store = DictMemoryStore(event_manager=manager)
    recorder = EventRecorder(manager)

    failing = manager.connect(StoreTransactionStartEvent, lambda event: 1 / 0)
    with pytest.raises(ExceptionGroup):
        set_in_transaction(store, "a")

    failing.disconnect()
    assert recorded_names(recorder) == [START, END]
    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)


def test_a_strict_event_manager_tells_the_changes_of_a_commit_though_a_listener_of_its_end_failed() -> None:
    manager = EventManager(strict=True)
    store = DictMemoryStore(event_manager=manager)
    recorder = EventRecorder(manager)

    failing = manager.connect(StoreTransactionEndEvent, lambda event: 1 / 0)
    with pytest.raises(ExceptionGroup), store.transaction():
        store.from_bytes("a", b"1")

    failing.disconnect()
    assert store.exists("a")
    assert recorded_names(recorder) == [START, END, SET]
    assert_usable(store, recorder)


def test_an_interrupt_in_a_listener_of_the_start_rolls_back(store: Transactional, manager: EventManager) -> None:
    def interrupt(event: BaseEvent) -> None:
        raise KeyboardInterrupt

    recorder = EventRecorder(manager)
    with manager.connect(StoreTransactionStartEvent, interrupt), pytest.raises(KeyboardInterrupt):
        set_in_transaction(store, "a")

    assert outcome(recorder) == "rolled_back"
    assert_usable(store, recorder)


def test_a_subclass_may_begin_commit_and_roll_back_in_its_own_way(recording: RecordingStore) -> None:
    class Spelling(SimpleTransactionContext):
        def begin(self) -> None:
            recording.calls.append("BEGIN")

        def commit(self) -> None:
            recording.calls.append("COMMIT")

        def rollback(self) -> None:
            recording.calls.append("ROLLBACK")

    with Spelling(recording):
        pass
    with suppress(OSError), Spelling(recording):
        raise OSError("disk full")

    assert recording.calls == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK"]


def test_a_context_that_was_never_entered_cannot_be_left(store: Transactional) -> None:
    with pytest.raises(TransactionError, match="never entered"):
        store.transaction().__exit__(None, None, None)


def test_a_store_without_a_name_or_an_event_manager_has_its_class_and_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plain:
        def _begin_transaction(self) -> None: ...

        def _commit_transaction(self) -> None: ...

    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager()) as heard, SimpleTransactionContext(Plain()):
        pass

    assert [event.store for event in heard.of(StoreTransactionEvent)] == ["Plain", "Plain"]


def test_a_context_says_whose_it_is_and_how_deep_we_are(recording: RecordingStore) -> None:
    context = recording.transaction()
    with context, recording.transaction():
        assert repr(context) == "<SimpleTransactionContext of 'recording': depth 2>"
    assert repr(context) == "<SimpleTransactionContext of 'recording': depth 0>"


class TestDummy:
    """The transaction of a store that has none."""

    def test_there_is_one_for_each_store(self, recording: RecordingStore, manager: EventManager) -> None:
        context = DummyTransactionContext(recording)

        assert DummyTransactionContext(recording) is context
        assert context.store is recording
        assert DummyTransactionContext(RecordingStore(event_manager=manager)) is not context

    def test_it_gives_itself_and_lets_errors_through(self, recording: RecordingStore, recorder: EventRecorder) -> None:
        context = DummyTransactionContext(recording)
        with pytest.raises(OSError, match="disk full"), context as entered, context:
            assert entered is context
            raise OSError("disk full")

        assert recording.calls == []
        assert recorder.events == []

    def test_subclass_has_its_own_for_each_store(self, recording: RecordingStore) -> None:
        class Mine(DummyTransactionContext):
            pass

        plain = DummyTransactionContext(recording)

        assert isinstance(Mine(recording), Mine)
        assert Mine(recording) is Mine(recording)
        assert DummyTransactionContext(recording) is plain

    def test_it_says_whose_it_is(self, recording: RecordingStore) -> None:
        assert repr(DummyTransactionContext(recording)) == "<DummyTransactionContext of 'recording'>"


class TestChain:
    """How the error of a rollback is shown with the error that it was to undo."""

    @staticmethod
    def failed(recording: RecordingStore, block: Callable[[], None], rollback: Callable[[], None]) -> BaseException:
        """What propagates from a transaction whose block and whose rollback raise."""

        class Failing(SimpleTransactionContext):
            def rollback(self) -> None:
                rollback()

        with pytest.raises(Exception, match="block") as caught, Failing(recording):
            block()
        return caught.value

    @staticmethod
    def raise_from(error: Exception, cause: Exception | None) -> None:
        raise error from cause

    @staticmethod
    def raise_in_context(error: Exception, context: Exception) -> None:
        try:
            raise context
        except type(context):
            raise error  # noqa: B904 (the implicit context is what is tested)

    def test_it_comes_after_the_cause_of_the_error(self, recording: RecordingStore) -> None:
        error = self.failed(
            recording,
            lambda: self.raise_from(ValueError("of the block"), KeyError("its cause")),
            lambda: self.raise_from(OSError("of the rollback"), None),
        )

        assert isinstance(error.__cause__, KeyError)
        assert isinstance(error.__cause__.__context__, OSError)
        assert "of the rollback" in shown(error)

    def test_it_is_shown_though_the_error_hides_its_context(self, recording: RecordingStore) -> None:
        def block() -> None:
            try:
                raise KeyError("hidden")
            except KeyError:
                raise ValueError("of the block") from None

        error = self.failed(recording, block, lambda: self.raise_from(OSError("of the rollback"), None))

        assert "of the rollback" in shown(error)
        assert "hidden" not in shown(error)

    def test_it_keeps_what_it_stands_on_itself(self, recording: RecordingStore) -> None:
        error = self.failed(
            recording,
            lambda: self.raise_from(ValueError("of the block"), None),
            lambda: self.raise_in_context(OSError("of the rollback"), KeyError("before it")),
        )

        assert shown(error).index("before it") < shown(error).index("of the rollback") < shown(error).index("of the bl")

    def test_it_may_be_raised_from_the_error_itself(self, recording: RecordingStore) -> None:
        original = ValueError("of the block")
        error = self.failed(
            recording,
            lambda: self.raise_from(original, None),
            lambda: self.raise_from(OSError("of the rollback"), original),
        )

        assert error is original
        assert "of the rollback" in shown(error)

    def test_it_may_be_the_error_itself(self, recording: RecordingStore) -> None:
        original = ValueError("of the block")
        error = self.failed(recording, lambda: self.raise_from(original, None), lambda: self.raise_from(original, None))

        assert error is original
        assert error.__context__ is None


class TestLeftBehind:
    """A block that an interrupt has cut off before the first line of its exit, while its traceback is kept."""

    @staticmethod
    def cut_off(store: Transactional) -> KeyboardInterrupt:
        """Leave a transaction behind in the traceback that is returned."""

        def interrupt(frame: FrameType, event: str, arg: object) -> None:
            if frame.f_code is TransactionBlocks.__exit__.__code__:
                sys.settrace(None)
                raise KeyboardInterrupt

        before = sys.gettrace()
        try:
            sys.settrace(interrupt)
            with store.transaction("cut off"):
                store.from_bytes("lost", b"1")
        except KeyboardInterrupt as error:
            return error
        finally:
            sys.settrace(before)
        raise AssertionError("it was not interrupted")

    @pytest.mark.parametrize("transaction", [True, False])
    def test_what_is_written_while_the_interrupt_is_handled_is_kept(
        self, store: Transactional, recorder: EventRecorder, pool: ThreadPoolExecutor, transaction: bool
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            try:
                raise self.cut_off(store)
            except KeyboardInterrupt:
                set_in_transaction(store, "later") if transaction else store.from_bytes("later", b"1")
                assert pool.submit(store.exists, "later").result(LONG)
                raise

        assert not store.exists("lost")
        outcomes = [event.outcome for event in recorder.of(StoreTransactionEndEvent)]
        assert outcomes == ["rolled_back", "committed"][: 1 + transaction]

    def test_it_ends_when_the_traceback_is_gone(self, store: Transactional, recorder: EventRecorder) -> None:
        error = self.cut_off(store)
        del error
        gc.collect()
        settled()

        assert outcome(recorder) == "rolled_back"
        assert not store.exists("lost")
        assert_usable(store, recorder)
