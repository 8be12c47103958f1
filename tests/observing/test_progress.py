"""StoreProgressManager counts every byte and emits few steps."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, ProgressError, default
from encore_events.testing import EventRecorder
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
)
from encore_storage.observing import StoreObserver
from encore_storage.observing.operation import SilentOperation
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.stores import DictMemoryStore
from encore_storage.streams import buffer_iterator
from encore_storage.value import Entry
from tests.storage.support import Clock, settled

OUTCOMES = [
    (ValueError("bad"), "error", "error", "invalid"),
    (OSError("disk"), "error", "error", "other"),
    (KeyNotFoundError("mine", "archive"), "miss", "warning", "not_found"),
    (KeyNotFoundError("another", "archive"), "error", "error", "not_found"),
    (KeyNotFoundError("mine", "elsewhere"), "error", "error", "not_found"),
    (KeyboardInterrupt(), "cancelled", "exception", None),
    (GeneratorExit(), "cancelled", "exception", None),
    (SystemExit(), "cancelled", "exception", None),
    (asyncio.CancelledError(), "cancelled", "exception", None),
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(manager: EventManager, clock: Clock) -> StoreProgressManager:
    """Return the progress of ten bytes, with a clock that stands still."""

    class Ticking(StoreProgressManager):
        pass

    Ticking.clock = clock
    return Ticking(manager, message="copying", steps=10)


def emitted_steps(recorder: EventRecorder) -> list[int]:
    return [event.step for event in recorder.of(StoreProgressStepEvent)]


def deltas(recorder: EventRecorder) -> list[int]:
    counting = (StoreProgressStepEvent, StoreProgressEndEvent)
    return [event.delta for event in recorder.events if isinstance(event, counting)]


def test_operation_emits_start_steps_and_end(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    with progress:
        clock.now += 1
        progress(step=4)

    assert recorder.names() == ["StoreProgressStartEvent", "StoreProgressStepEvent", "StoreProgressEndEvent"]


def test_events_share_the_identity_of_the_operation(manager: EventManager, recorder: EventRecorder) -> None:
    class Eager(StoreProgressManager):
        min_interval = 0

    source = object()
    identity: dict[str, Any] = {
        "store": "archive",
        "operation": "set",
        "direction": "write",
        "key": "a",
        "metadata": {"kind": "example"},
        "transaction_id": "t1",
        "colour": "red",
    }
    with Eager(manager, source, "op-1", "storing", 10, **identity) as progress:
        progress(4)

    for event in recorder.of(StoreProgressEvent):
        assert {name: getattr(event, name) for name in identity} == identity
        assert (event.source, event.operation_id, event.message, event.steps) == (source, "op-1", "storing", 10)
    assert len(recorder.events) == 3


def test_source_defaults_to_the_progress_manager(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        pass

    assert {id(event.source) for event in recorder.events} == {id(progress)}


def test_operation_ids_are_unique(manager: EventManager, recorder: EventRecorder) -> None:
    with StoreProgressManager(manager), StoreProgressManager(manager):
        pass

    assert len({event.operation_id for event in recorder.of(StoreProgressEvent)}) == 2


def test_start_has_a_timestamp_and_end_a_duration(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    with progress:
        clock.now += 2.5

    assert recorder.one(StoreProgressStartEvent).timestamp > 1e9
    assert recorder.one(StoreProgressEndEvent).duration == 2.5


def test_steps_within_the_interval_are_counted_but_not_emitted(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    with progress:
        for total in range(1, 10):
            progress(step=total)

    assert emitted_steps(recorder) == []
    assert recorder.one(StoreProgressEndEvent).bytes == 9
    assert recorder.one(StoreProgressEndEvent).delta == 9


def test_step_is_emitted_once_per_interval_since_the_start(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    with progress:
        for total, now in ((1, 0.09), (2, 0.1), (3, 0.19), (4, 0.21), (5, 0.3), (6, 0.35)):
            clock.now = 1000.0 + now
            progress(step=total)

    assert emitted_steps(recorder) == [2, 4, 6]
    assert deltas(recorder) == [2, 2, 2, 0]


def test_interval_of_zero_emits_every_step_but_the_last(manager: EventManager, recorder: EventRecorder) -> None:
    class Eager(StoreProgressManager):
        min_interval = 0

    with Eager(manager, steps=4) as progress:
        for total in range(1, 5):
            progress(step=total)

    assert emitted_steps(recorder) == [1, 2, 3]
    assert deltas(recorder) == [1, 1, 1, 1]


def test_last_step_is_emitted_if_the_size_is_unknown(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    progress.steps = -1
    with progress:
        clock.now += 1
        progress(step=10)

    assert emitted_steps(recorder) == [10]
    assert deltas(recorder) == [10, 0]


def test_steps_set_later_are_in_the_following_events(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    progress.steps = -1
    with progress:
        progress.steps = 20
        clock.now += 1
        progress(step=10)

    assert [event.steps for event in recorder.of(StoreProgressEvent)] == [-1, 20, 20]


@pytest.mark.parametrize(
    ("method", "arguments", "keywords"),
    [
        ("__call__", (4,), {}),
        ("__call__", (), {"step": 4}),
        ("__call__", ("nearly", 4), {}),
        ("__call__", ("nearly",), {"step": 4}),
        ("step", (), {"step": 4}),
        ("step", ("nearly", 4), {}),
        ("count", (4,), {}),
    ],
    ids=str,
)
def test_all_signatures_count_the_same(
    method: str,
    arguments: tuple[Any, ...],
    keywords: dict[str, int],
    progress: StoreProgressManager,
    recorder: EventRecorder,
) -> None:
    with progress:
        getattr(progress, method)(*arguments, **keywords)
        assert progress.bytes == 4

    assert recorder.one(StoreProgressEndEvent).bytes == 4


def test_message_is_replaced_by_the_next_and_the_end_has_the_first(
    progress: StoreProgressManager, recorder: EventRecorder, clock: Clock
) -> None:
    with progress:
        progress("nearly", 4)
        clock.now += 1
        progress(step=5)

    assert [event.message for event in recorder.of(StoreProgressEvent)] == ["copying", "nearly", "copying"]


def test_message_alone_counts_nothing(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        progress("still looking")
        progress.step()

    assert recorder.one(StoreProgressEndEvent).bytes == 0


@pytest.mark.parametrize("lower", [3, 0, -1])
def test_lower_step_does_not_lower_the_count(
    lower: int, progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    with progress:
        progress(step=4)
        progress(step=lower)
        progress.step(step=lower)
        progress.count_to(lower)

    assert recorder.one(StoreProgressEndEvent).bytes == 4


def test_call_before_start_starts(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    progress(4)
    progress.end()

    assert recorder.names() == ["StoreProgressStartEvent", "StoreProgressEndEvent"]


def test_block_after_start_does_not_start_again(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    progress.start()
    with progress:
        pass

    assert recorder.names() == ["StoreProgressStartEvent", "StoreProgressEndEvent"]


def test_block_after_end_does_not_end_again(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        progress.end("done early", "warning")

    end = recorder.one(StoreProgressEndEvent)
    assert (end.message, end.exit_state, end.outcome) == ("done early", "warning", "miss")


@pytest.mark.parametrize(
    ("exit_state", "outcome"),
    [("normal", "ok"), ("warning", "miss"), ("error", "error"), ("exception", "cancelled")],
)
def test_exit_state_decides_the_outcome(
    exit_state: Any, outcome: str, progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    progress.start()
    progress.end(exit_state=exit_state)

    assert recorder.one(StoreProgressEndEvent).outcome == outcome
    assert recorder.one(StoreProgressEndEvent).exit_state == exit_state


def test_unknown_exit_state_is_refused_and_the_block_ends(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    with pytest.raises(ValueError, match=r"must be one of 'normal', .*, not 'fine'"), progress:
        progress.end(exit_state="fine")  # type: ignore[arg-type]  # that is what is tested

    assert recorder.one(StoreProgressEndEvent).outcome == "error"


@pytest.mark.parametrize(("error", "outcome", "exit_state", "error_type"), OUTCOMES, ids=repr)
def test_exception_of_the_block_decides_the_outcome(
    error: BaseException,
    outcome: str,
    exit_state: str,
    error_type: str | None,
    manager: EventManager,
    recorder: EventRecorder,
) -> None:
    with pytest.raises(type(error)), StoreProgressManager(manager, key="mine", store="archive") as progress:
        progress(step=3)
        raise error

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.exit_state, end.error_type) == (outcome, exit_state, error_type)
    assert end.error is error
    assert end.message == (str(error) or type(error).__name__)
    assert end.bytes == end.delta == 3


def test_any_missing_key_is_a_miss_without_a_key(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with pytest.raises(KeyNotFoundError), progress:
        raise KeyNotFoundError("any", "any")

    assert recorder.one(StoreProgressEndEvent).outcome == "miss"


def test_successful_end_has_no_error(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        pass

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.exit_state, end.error, end.error_type) == ("ok", "normal", None, None)


def test_message_of_end_overrides_that_of_the_error(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    progress.start()
    progress.end("gave up", error=OSError("disk"))

    assert recorder.one(StoreProgressEndEvent).message == "gave up"


@pytest.mark.parametrize("method", ["start", "step", "end", "count", "__call__"])
def test_unknown_keyword_is_refused(method: str, progress: StoreProgressManager) -> None:
    with progress, pytest.raises(TypeError, match="end_state"):
        getattr(progress, method)(end_state="error")


@pytest.mark.parametrize("method", ["step", "end", "__call__"])
def test_call_after_end_is_refused(method: str, progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        pass
    recorder.clear()

    with pytest.raises(ProgressError, match="'copying' before its start\\(\\) or after its end"):
        getattr(progress, method)()
    assert recorder.events == []


@pytest.mark.parametrize("method", ["step", "end"])
def test_call_before_start_is_refused(method: str, progress: StoreProgressManager) -> None:
    with pytest.raises(ProgressError):
        getattr(progress, method)()


def test_start_that_a_strict_manager_raises_from_has_an_end() -> None:
    manager = EventManager(strict=True)
    manager.connect(StoreProgressStartEvent, lambda event: 1 / 0)
    recorder = EventRecorder(manager)

    with pytest.raises(ExceptionGroup):
        StoreProgressManager(manager).__enter__()

    assert len(recorder.of(StoreProgressEvent)) == 2
    assert recorder.one(StoreProgressEndEvent).outcome == "error"


def test_get_starts_its_operation_before_the_lookup(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class SlowStore(DictMemoryStore):
        def _lookup(self, key: str) -> Entry:
            clock.now += 2.5
            started.append(recorder.names())
            return super()._lookup(key)

    monkeypatch.setattr(StoreProgressManager, "clock", clock)
    manager = EventManager()
    store = SlowStore(event_manager=manager)
    store.from_bytes("a", b"1")
    recorder = EventRecorder(manager)
    store.get("a")

    assert started[-1] == ["StoreProgressStartEvent"]
    assert recorder.one(StoreProgressEndEvent).duration == 2.5


def test_bytes_are_counted_without_listeners(clock: Clock) -> None:
    class Ticking(StoreProgressManager):
        pass

    Ticking.clock = clock
    with Ticking(EventManager()) as progress:
        clock.now += 1
        progress(step=4)

    assert progress.bytes == 4


def test_delta_includes_steps_without_listeners(
    manager: EventManager, progress: StoreProgressManager, clock: Clock
) -> None:
    with progress:
        clock.now += 1
        progress(step=4)
        recorder = EventRecorder(manager)
        clock.now += 1
        progress(step=6)

    assert deltas(recorder) == [6, 0]


def test_given_event_manager_is_used_instead_of_the_default(
    manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager(), BaseEvent) as of_default, StoreProgressManager(manager):
        pass

    assert of_default.events == []
    assert len(recorder.events) == 2


def test_event_manager_defaults_to_the_global_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "_default", {})
    with EventRecorder(default.get_event_manager()) as of_default, StoreProgressManager():
        pass

    assert [event.message for event in of_default.of(StoreProgressEvent)] == ["Performing operation"] * 2


def test_buffer_iterator_counts_the_bytes_read(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with progress:
        chunks = list(buffer_iterator(io.BytesIO(b"ten bytes!"), 4, progress))

    assert len(chunks) == 3
    assert recorder.one(StoreProgressEndEvent).bytes == 10


def test_repr_has_message_and_progress(progress: StoreProgressManager) -> None:
    with progress:
        progress(4)

        assert repr(progress) == "<Ticking: 'copying', 4 of 10>"


def test_silent_operation_counts_and_emits_nothing() -> None:
    progress = SilentOperation("get", "a")
    with progress as entered:
        progress(4)
        progress(step=5)
        progress.step("nearly", 6)
        progress.count(7)
        progress.steps = 8

    assert entered is progress
    assert (progress.bytes, progress.is_over) == (13, True)
    assert repr(progress) == "<SilentOperation>"


MISUSES: dict[str, list[tuple[Any, ...]]] = {
    "second start": [("start",), ("start",)],
    "end before start": [("end",)],
    "second end": [("start",), ("end",), ("end",)],
    "count before start": [("count", 1)],
    "step after end": [("start",), ("end",), ("step",)],
    "count after end": [("start",), ("end",), ("count", 1)],
    "call after end": [("start",), ("end",), ("__call__", 1)],
    "unknown exit state": [("start",), ("end", None, "bogus")],
    "negative count": [("start",), ("count", -1)],
    "count of a float": [("start",), ("count", 1.5)],
}


@pytest.mark.parametrize("calls", MISUSES.values(), ids=MISUSES)
def test_misuse_is_refused_alike_with_and_without_listeners(
    calls: list[tuple[Any, ...]], manager: EventManager
) -> None:
    observer = StoreObserver("invoices", event_manager=manager)
    messages = list[str]()
    for _ in range(2):
        operation = observer.operation("get", "a")
        *before, (name, *arguments) = calls
        for each, *its_arguments in before:
            getattr(operation, each)(*its_arguments)
        with pytest.raises((ProgressError, TypeError, ValueError)) as raised:
            getattr(operation, name)(*arguments)
        messages.append(repr(raised.value))
        EventRecorder(manager)

    assert messages[0] == messages[1]


def test_threads_count_exactly_in_one_operation(manager: EventManager, recorder: EventRecorder) -> None:
    def count(progress: StoreProgressManager) -> None:
        for _ in range(20_000):
            progress.count(1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with StoreProgressManager(manager) as counted, ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(count, counted)
    finally:
        sys.setswitchinterval(before)

    end = recorder.one(StoreProgressEndEvent)
    assert end.bytes == 80_000
    assert sum(event.delta for event in recorder.of(StoreProgressStepEvent)) + end.delta == 80_000


def test_second_start_is_refused(manager: EventManager, recorder: EventRecorder) -> None:
    progress = StoreProgressManager(manager, message="moving")
    progress.start()
    with pytest.raises(ProgressError, match=r"start\(\) of 'moving' after its start"):
        progress.start()
    progress.end()
    with pytest.raises(ProgressError):
        progress.start()

    assert recorder.names() == ["StoreProgressStartEvent", "StoreProgressEndEvent"]


def test_error_without_an_exception_has_an_error_type(manager: EventManager, recorder: EventRecorder) -> None:
    progress = StoreProgressManager(manager)
    progress.start()
    progress.end("gave up", "error")

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.error, end.error_type, end.message) == ("error", None, "other", "gave up")


def test_error_that_interrupted_two_exits_ends_both_operations(manager: EventManager, recorder: EventRecorder) -> None:
    first, second = (StoreProgressManager(manager, "source", message=name) for name in ("first", "second"))

    def interrupt_exit(frame: FrameType, event: str, argument: object) -> None:
        if frame.f_code is StoreProgressManager.__exit__.__code__:
            raise KeyboardInterrupt

    traced = sys.gettrace()
    try:
        with first, second:
            sys.settrace(interrupt_exit)
    except KeyboardInterrupt as error:
        sys.settrace(traced)
        first.finish_unless_forked(error)
    finally:
        sys.settrace(traced)

    ends = recorder.of(StoreProgressEndEvent)
    assert sorted((end.message, end.outcome) for end in ends) == [("KeyboardInterrupt", "cancelled")] * 2
    assert {end.operation_id for end in ends} == {first.operation_id, second.operation_id}


def test_generator_that_another_thread_closes_is_no_error_of_a_collected_operation(
    manager: EventManager, recorder: EventRecorder
) -> None:
    runs, goes_on = threading.Event(), threading.Event()

    def items() -> Iterator[bytes]:
        runs.set()
        assert goes_on.wait(20)
        yield b""

    def collected() -> None:
        operation = StoreObserver("archive", event_manager=manager).operation("query")
        operation.start()
        operation.adopt(iterator)

    iterator = items()
    thread = threading.Thread(target=lambda: next(iterator))
    thread.start()
    assert runs.wait(20)
    collected()
    settled()  # pytest reports what the thread in the background raises
    goes_on.set()
    thread.join(20)

    assert recorder.one(StoreProgressEndEvent).outcome == "cancelled"
