"""ProgressManager."""

from typing import Any

import pytest

from encore_events import (
    EventError,
    EventManager,
    ProgressEndEvent,
    ProgressError,
    ProgressEvent,
    ProgressManager,
    ProgressStartEvent,
    ProgressStepEvent,
    get_event_manager,
)
from encore_events.testing import EventRecorder


@pytest.fixture
def recorder(manager: EventManager) -> EventRecorder:
    return EventRecorder(manager)


def steps(recorder: EventRecorder) -> list[tuple[str, int]]:
    return [(event.message, event.step) for event in recorder.of(ProgressStepEvent)]


def test_block_emits_start_steps_and_end(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager) as progress:
        progress(1)
        progress(2)

    assert recorder.names() == ["ProgressStartEvent", "ProgressStepEvent", "ProgressStepEvent", "ProgressEndEvent"]


def test_every_event_identifies_the_operation(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, source="me", operation_id=7, message="copying", owner="you") as progress:
        progress(1)

    expected: list[Any] = recorder.of(ProgressEvent)
    assert [(event.source, event.operation_id, event.message, event.owner) for event in expected] == [
        ("me", 7, "copying", "you")
    ] * 3


def test_omitted_arguments_have_defaults(manager: EventManager, recorder: EventRecorder) -> None:
    progress = ProgressManager(manager)
    with progress:
        progress()

    start = recorder.one(ProgressStartEvent)
    assert (start.source, start.message, start.steps) == (progress, "Performing operation", -1)
    assert recorder.one(ProgressStepEvent).steps == -1
    assert recorder.one(ProgressEndEvent).exit_state == "normal"


def test_operation_ids_are_unique(manager: EventManager) -> None:
    assert ProgressManager(manager).operation_id != ProgressManager(manager).operation_id


def test_falsy_id_and_source_are_kept(manager: EventManager) -> None:
    progress = ProgressManager(manager, source=0, operation_id=0)

    assert (progress.source, progress.operation_id) == (0, 0)


def test_progress_is_emitted_on_the_given_manager_only(
    manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encore_events.default._default", {})

    with EventRecorder(get_event_manager()) as default, ProgressManager(manager):
        pass

    assert len(recorder.events) == 2
    assert default.events == []


def test_progress_is_emitted_on_the_default_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encore_events.default._default", {})

    with EventRecorder(get_event_manager()) as default, ProgressManager():
        pass

    assert len(default.events) == 2


@pytest.mark.parametrize(
    ("arguments", "keywords", "expected"),
    [
        ((3,), {}, ("working", 3)),
        ((), {"step": 3}, ("working", 3)),
        (("nearly", 3), {}, ("nearly", 3)),
        (("nearly",), {"step": 3}, ("nearly", 3)),
        ((), {"message": "nearly", "step": 3}, ("nearly", 3)),
        (("nearly",), {}, ("nearly", 1)),
        ((), {}, ("working", 1)),
        ((0,), {}, ("working", 0)),
    ],
    ids=repr,
)
def test_step_is_the_total_in_every_call_form(
    manager: EventManager,
    recorder: EventRecorder,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    expected: tuple[str, int],
) -> None:
    with ProgressManager(manager, message="working") as progress:
        progress(*arguments, **keywords)

    assert steps(recorder) == [expected]


def test_step_without_number_adds_one(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, message="m") as progress:
        progress.step()
        progress.step()
        progress.step(step=10)
        progress.step("last")

    assert steps(recorder) == [("m", 1), ("m", 2), ("m", 10), ("last", 11)]


def test_every_step_is_emitted(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, steps=100) as progress:
        for number in range(1, 101):
            progress(number)

    assert [step for _, step in steps(recorder)] == list(range(1, 101))


def test_expected_steps_can_be_set_later(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager) as progress:
        progress(1)
        progress.steps = 5
        progress(2)

    assert [event.steps for event in recorder.of(ProgressStepEvent)] == [-1, 5]


def test_call_outside_a_block_starts_the_operation(manager: EventManager, recorder: EventRecorder) -> None:
    progress = ProgressManager(manager)

    progress(1)
    progress.end()

    assert recorder.names() == ["ProgressStartEvent", "ProgressStepEvent", "ProgressEndEvent"]


def test_block_does_not_repeat_manual_start_or_end(manager: EventManager, recorder: EventRecorder) -> None:
    progress = ProgressManager(manager)
    progress.start()
    with progress:
        progress.end("gave up", "warning")

    assert recorder.names() == ["ProgressStartEvent", "ProgressEndEvent"]
    end = recorder.one(ProgressEndEvent)
    assert (end.message, end.exit_state) == ("gave up", "warning")


@pytest.mark.parametrize(
    ("error", "message"), [(OSError("disk full"), "disk full"), (KeyboardInterrupt(), "KeyboardInterrupt")], ids=repr
)
def test_failing_block_ends_with_the_exception(
    manager: EventManager, recorder: EventRecorder, error: BaseException, message: str
) -> None:
    with pytest.raises(type(error)), ProgressManager(manager):
        raise error

    end = recorder.one(ProgressEndEvent)
    assert (end.message, end.exit_state) == (message, "exception")


@pytest.mark.parametrize(("method", "expected"), [("step", "step"), ("end", "end"), ("__call__", "step")])
def test_step_or_end_out_of_order_raises(
    manager: EventManager, recorder: EventRecorder, method: str, expected: str
) -> None:
    progress = ProgressManager(manager, message="copying")
    with progress:
        pass

    with pytest.raises(
        ProgressError, match=rf"{expected}\(\) of 'copying' before its start\(\) or after its end\(\)"
    ) as caught:
        getattr(progress, method)()

    assert caught.value.method == expected
    assert len(recorder.events) == 2


@pytest.mark.parametrize(
    ("method", "keyword"), [("start", "mesage"), ("step", "steps"), ("end", "end_state"), ("__call__", "stpe")]
)
def test_misspelt_keyword_raises(manager: EventManager, method: str, keyword: str) -> None:
    with ProgressManager(manager) as progress, pytest.raises(TypeError, match=keyword):
        getattr(progress, method)(**{keyword: "error"})


def test_progress_without_listeners_counts(manager: EventManager) -> None:
    with ProgressManager(manager, message="copying", steps=9) as progress:
        progress()
        progress()

        assert repr(progress) == "<ProgressManager: 'copying', 2 of 9>"


def test_event_attributes_override_custom_attributes(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, step="first", exit_state="unknown") as progress:
        progress(4)

    assert recorder.one(ProgressStepEvent).step == 4
    assert recorder.one(ProgressEndEvent).exit_state == "normal"


def test_subclass_can_emit_its_own_events(manager: EventManager, recorder: EventRecorder) -> None:
    class CopyStartEvent(ProgressStartEvent):
        pass

    class CopyManager(ProgressManager):
        StartEventType = CopyStartEvent

    with CopyManager(manager):
        pass

    assert recorder.names() == ["CopyStartEvent", "ProgressEndEvent"]


def test_operation_starts_once(manager: EventManager) -> None:
    progress = ProgressManager(manager, message="moving")
    progress.start()

    with pytest.raises(ProgressError, match="after its start"):
        progress.start()


def test_failed_start_emits_the_end() -> None:
    strict = EventManager(strict=True)
    recorder = EventRecorder(strict)

    def refuse(event: ProgressStartEvent) -> None:
        raise OSError("no")

    strict.connect(ProgressStartEvent, refuse)
    with pytest.raises(ExceptionGroup):
        ProgressManager(strict).start()

    assert recorder.names() == ["ProgressStartEvent", "ListenerErrorEvent", "ProgressEndEvent"]


def test_attribute_shadowing_a_method_is_refused(manager: EventManager) -> None:
    with pytest.raises(EventError, match="'handled'"):
        ProgressManager(manager, handled=1)
