"""ProgressManager: an operation as a start, any number of steps, and one end."""

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


def test_a_block_is_one_start_its_steps_and_one_end(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager) as progress:
        progress(1)
        progress(2)

    assert recorder.names() == ["ProgressStartEvent", "ProgressStepEvent", "ProgressStepEvent", "ProgressEndEvent"]


def test_every_event_says_which_operation_it_is_of(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, source="me", operation_id=7, message="copying", owner="you") as progress:
        progress(1)

    told: list[Any] = recorder.of(ProgressEvent)
    assert [(event.source, event.operation_id, event.message, event.owner) for event in told] == [
        ("me", 7, "copying", "you")
    ] * 3


def test_what_is_not_said_has_defaults(manager: EventManager, recorder: EventRecorder) -> None:
    progress = ProgressManager(manager)
    with progress:
        progress()

    start = recorder.one(ProgressStartEvent)
    assert (start.source, start.message, start.steps) == (progress, "Performing operation", -1)
    assert recorder.one(ProgressStepEvent).steps == -1
    assert recorder.one(ProgressEndEvent).exit_state == "normal"


def test_operations_have_ids_of_their_own(manager: EventManager) -> None:
    assert ProgressManager(manager).operation_id != ProgressManager(manager).operation_id


def test_an_id_or_a_source_that_is_nothing_much_is_kept(manager: EventManager) -> None:
    progress = ProgressManager(manager, source=0, operation_id=0)

    assert (progress.source, progress.operation_id) == (0, 0)


def test_progress_is_told_on_the_given_manager_and_not_on_the_default(
    manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encore_events.default._default", {})

    with EventRecorder(get_event_manager()) as default, ProgressManager(manager):
        pass

    assert len(recorder.events) == 2
    assert default.events == []


def test_without_a_manager_it_is_told_on_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encore_events.default._default", {})

    with EventRecorder(get_event_manager()) as default, ProgressManager():
        pass

    assert len(default.events) == 2


@pytest.mark.parametrize(
    ("arguments", "keywords", "told"),
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
def test_a_step_is_the_total_so_far_however_it_is_said(
    manager: EventManager,
    recorder: EventRecorder,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    told: tuple[str, int],
) -> None:
    with ProgressManager(manager, message="working") as progress:
        progress(*arguments, **keywords)

    assert steps(recorder) == [told]


def test_a_step_without_a_number_is_one_more_than_before(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, message="m") as progress:
        progress.step()
        progress.step()
        progress.step(step=10)
        progress.step("last")

    assert steps(recorder) == [("m", 1), ("m", 2), ("m", 10), ("last", 11)]


def test_every_step_is_told(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, steps=100) as progress:
        for number in range(1, 101):
            progress(number)

    assert [step for _, step in steps(recorder)] == list(range(1, 101))


def test_the_expected_steps_may_become_known(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager) as progress:
        progress(1)
        progress.steps = 5
        progress(2)

    assert [event.steps for event in recorder.of(ProgressStepEvent)] == [-1, 5]


def test_a_step_outside_of_a_block_starts_the_operation(manager: EventManager, recorder: EventRecorder) -> None:
    progress = ProgressManager(manager)

    progress(1)
    progress.end()

    assert recorder.names() == ["ProgressStartEvent", "ProgressStepEvent", "ProgressEndEvent"]


def test_what_was_started_or_ended_by_hand_is_not_told_twice(manager: EventManager, recorder: EventRecorder) -> None:
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
def test_a_block_that_raises_ends_with_the_exception(
    manager: EventManager, recorder: EventRecorder, error: BaseException, message: str
) -> None:
    with pytest.raises(type(error)), ProgressManager(manager):
        raise error

    end = recorder.one(ProgressEndEvent)
    assert (end.message, end.exit_state) == (message, "exception")


@pytest.mark.parametrize(("method", "told"), [("step", "step"), ("end", "end"), ("__call__", "step")])
def test_a_step_or_an_end_out_of_turn_is_an_error(
    manager: EventManager, recorder: EventRecorder, method: str, told: str
) -> None:
    progress = ProgressManager(manager, message="copying")
    with progress:
        pass

    with pytest.raises(ProgressError, match=rf"{told}\(\) of 'copying' outside of its start\(\) and end\(\)") as caught:
        getattr(progress, method)()

    assert caught.value.method == told
    assert len(recorder.events) == 2


@pytest.mark.parametrize(
    ("method", "keyword"), [("start", "mesage"), ("step", "steps"), ("end", "end_state"), ("__call__", "stpe")]
)
def test_a_misspelt_keyword_is_an_error(manager: EventManager, method: str, keyword: str) -> None:
    with ProgressManager(manager) as progress, pytest.raises(TypeError, match=keyword):
        getattr(progress, method)(**{keyword: "error"})


def test_progress_that_nobody_watches_counts_all_the_same(manager: EventManager) -> None:
    with ProgressManager(manager, message="copying", steps=9) as progress:
        progress()
        progress()

        assert repr(progress) == "<ProgressManager: 'copying', 2 of 9>"


def test_attributes_of_the_event_win_over_those_of_the_program(manager: EventManager, recorder: EventRecorder) -> None:
    with ProgressManager(manager, step="first", exit_state="unknown") as progress:
        progress(4)

    assert recorder.one(ProgressStepEvent).step == 4
    assert recorder.one(ProgressEndEvent).exit_state == "normal"


def test_a_subclass_may_tell_events_of_its_own(manager: EventManager, recorder: EventRecorder) -> None:
    class CopyStartEvent(ProgressStartEvent):
        pass

    class CopyManager(ProgressManager):
        StartEventType = CopyStartEvent

    with CopyManager(manager):
        pass

    assert recorder.names() == ["CopyStartEvent", "ProgressEndEvent"]


def test_an_operation_starts_once(manager: EventManager) -> None:
    progress = ProgressManager(manager, message="moving")
    progress.start()

    with pytest.raises(ProgressError, match="after its start"):
        progress.start()


def test_a_start_that_is_refused_has_its_end() -> None:
    strict = EventManager(strict=True)
    recorder = EventRecorder(strict)

    def refuse(event: ProgressStartEvent) -> None:
        raise OSError("no")

    strict.connect(ProgressStartEvent, refuse)
    with pytest.raises(ExceptionGroup):
        ProgressManager(strict).start()

    assert recorder.names() == ["ProgressStartEvent", "ListenerErrorEvent", "ProgressEndEvent"]


def test_an_attribute_that_shadows_a_method_is_refused_at_once(manager: EventManager) -> None:
    with pytest.raises(EventError, match="'handled'"):
        ProgressManager(manager, handled=1)
