"""The contract of outcomes: each call is one operation, with one start, one end, and deltas that sum to its bytes."""

from __future__ import annotations

import array
import asyncio
from pathlib import Path

import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError, StoreConnectionError
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.calls import DATA, MISS, OK, REFUSED, SIZE, Call, CallContract
from encore_storage.testing.kit import Source, checked_end, put

INTERRUPTS = [KeyboardInterrupt("stop"), GeneratorExit("stop"), asyncio.CancelledError("stop")]
OUTCOMES = [
    pytest.param(OSError("cable"), "error", "error", id="OSError"),
    *(pytest.param(error, "cancelled", "exception", id=type(error).__name__) for error in INTERRUPTS),
]


class OutcomeContract(CallContract):
    """The rules of the events of a call."""

    @pytest.mark.parametrize(("call", "operations"), OK.values(), ids=OK)
    def test_call_that_succeeds_is_ok(
        self,
        call: Call,
        operations: list[tuple[str, str | None]],
        two_keys: AbstractStore,
        recorder: EventRecorder,
    ) -> None:
        """A call that succeeds emits one start and one end of each of its operations, of outcome 'ok'."""
        call(two_keys)

        starts = recorder.of(StoreProgressStartEvent)
        assert [(event.operation, event.direction) for event in starts] == operations
        for start in starts:
            same = [event for event in recorder.of(StoreProgressEvent) if event.operation_id == start.operation_id]
            end = checked_end(list(same))
            assert (end.outcome, end.exit_state) == ("ok", "normal")
            assert (end.error, end.error_type) == (None, None)
            assert (end.key is None) is (end.operation in ("query", "list"))
            assert end.source is two_keys
            assert end.store == "archive"

    @pytest.mark.parametrize("call", ["to_file", "from_file"])
    def test_file_copy_is_a_get_or_a_set(
        self, call: str, two_keys: AbstractStore, recorder: EventRecorder, tmp_path: Path
    ) -> None:
        """`to_file` is one operation get and `from_file` one operation set, of as many bytes as the file."""
        path = tmp_path / "file"
        path.write_bytes(DATA)
        getattr(two_keys, call)("a", path)

        end = checked_end(recorder.events)
        assert (end.operation, end.direction) == (("get", "read") if call == "to_file" else ("set", "write"))
        assert end.bytes == end.steps == SIZE

    def test_size_of_a_buffer_is_in_bytes(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """`from_bytes` of any buffer counts its bytes, not its items."""
        store.from_bytes("a", array.array("i", [1, 2, 3]))  # type: ignore[arg-type]  # any buffer is accepted

        end = recorder.one(StoreProgressEndEvent)
        assert end.steps == end.bytes == len(store.to_bytes("a"))

    @pytest.mark.parametrize(("call", "operation"), MISS.values(), ids=MISS)
    def test_missing_key_is_a_miss(
        self, call: Call, operation: str, store: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A call that raises KeyNotFoundError ends with outcome 'miss' and no bytes."""
        with pytest.raises(KeyNotFoundError) as caught:
            call(store)

        end = checked_end(recorder.events)
        assert (end.operation, end.key, end.bytes) == (operation, "missing", 0)
        assert (end.outcome, end.exit_state) == ("miss", "warning")
        assert (end.error, end.error_type) == (caught.value, "not_found")

    @pytest.mark.parametrize(("call", "operation"), REFUSED.values(), ids=REFUSED)
    def test_refused_call_is_an_error(
        self, call: Call, operation: str, two_keys: AbstractStore, recorder: EventRecorder
    ) -> None:
        """A call that is refused ends with outcome 'error' and the exception that it raises."""
        with pytest.raises((TypeError, ValueError)) as caught:
            call(two_keys)

        end = checked_end(recorder.events)
        assert (end.operation, end.bytes) == (operation, 0)
        assert (end.outcome, end.exit_state) == ("error", "error")
        assert (end.error, end.error_type) == (caught.value, "invalid")

    def test_missing_file_is_an_error_of_set(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """`from_file` of a missing file is an error of type 'not_found', not a miss."""
        with pytest.raises(FileNotFoundError):
            store.from_file("a", "no such file")

        end = checked_end(recorder.events)
        assert (end.operation, end.outcome, end.error_type) == ("set", "error", "not_found")

    def test_missing_directory_is_an_error_of_get(self, two_keys: AbstractStore, recorder: EventRecorder) -> None:
        """`to_file` into a missing directory is an error of type 'not_found', and not ok."""
        with pytest.raises(FileNotFoundError):
            two_keys.to_file("a", "no such directory/file")

        end = checked_end(recorder.events)
        assert (end.operation, end.outcome, end.error_type) == ("get", "error", "not_found")

    def test_call_on_a_disconnected_store_is_an_error(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """A call on a disconnected store ends with an error of type 'connection'."""
        store.disconnect()
        with pytest.raises(StoreConnectionError):
            store.query()

        end = checked_end(recorder.events)
        assert (end.operation, end.outcome, end.error_type) == ("query", "error", "connection")

    @pytest.mark.usefixtures("every_step")
    def test_step_of_a_set_counts_accepted_bytes(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """The steps of a set count the chunks that the store has taken; the end has the last of them."""
        store.set_data("a", Source(b"1" * 1000, b"2" * 1000, b"3" * 1000))

        assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [1000, 2000]
        end = checked_end(recorder.events)
        assert (end.bytes, end.delta, end.steps) == (3000, 1000, -1)

    @pytest.mark.usefixtures("every_step")
    @pytest.mark.parametrize("call", ["set", "set_data"])
    @pytest.mark.parametrize("before", [(), (b"1" * 1000, b"2" * 1000)], ids=["at open", "in mid-stream"])
    @pytest.mark.parametrize(("error", "outcome", "exit_state"), OUTCOMES)
    def test_set_from_a_failing_source_counts_accepted_bytes(
        self,
        call: str,
        before: tuple[bytes, ...],
        error: BaseException,
        outcome: str,
        exit_state: str,
        store: AbstractStore,
        recorder: EventRecorder,
    ) -> None:
        """If the source raises, the set ends with that error and the bytes taken until then; nothing changes.

        An exception is an error; KeyboardInterrupt, GeneratorExit and CancelledError are 'cancelled'.
        """
        source = Source(*before, error)
        with pytest.raises(type(error)):
            store.set("a", (source, {})) if call == "set" else store.set_data("a", source)

        end = checked_end(recorder.events)
        assert (end.operation, end.direction, end.key) == ("set", "write", "a")
        assert (end.outcome, end.exit_state) == (outcome, exit_state)
        assert (end.bytes, end.error) == (1000 * len(before), error)
        assert recorder.of(StoreModificationEvent) == []

    def test_missing_source_of_a_set_is_an_error(self, store: AbstractStore, recorder: EventRecorder) -> None:
        """A KeyNotFoundError of the source is an error of the set, not a miss."""
        put(store, "a", DATA)
        missing = KeyNotFoundError("elsewhere", "another store")
        with pytest.raises(KeyNotFoundError):
            store.set_data("a", Source(b"1", missing))

        (end,) = [end for end in recorder.of(StoreProgressEndEvent) if end.outcome != "ok"]
        assert (end.operation, end.outcome, end.error_type) == ("set", "error", "not_found")

    def test_operation_in_a_transaction_has_its_id(self, two_keys: AbstractStore, recorder: EventRecorder) -> None:
        """The events of an operation carry the id of the transaction it is part of, if there is one."""
        with two_keys.transaction():
            two_keys.to_bytes("a")
        two_keys.to_bytes("a")

        inside, outside = (event.transaction_id for event in recorder.of(StoreProgressEndEvent))
        assert (inside is not None) is two_keys.info()["transactional"]
        assert outside is None
