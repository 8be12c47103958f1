"""Holding, releasing and discarding events."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from encore_events import BaseEvent, EmitHandle, EventManager, InvalidListenerError, ListenerErrorEvent
from encore_events.testing import EventRecorder


class Changed(BaseEvent):
    number: int

    @property
    def broken(self) -> int:
        raise OSError("broken")

    @property
    def endless(self) -> int:
        raise RecursionError

    @property
    def full(self) -> int:
        raise MemoryError


class Deleted(Changed):
    pass


class Opened(BaseEvent):
    pass


@pytest.fixture
def recorder(manager: EventManager) -> EventRecorder:
    return EventRecorder(manager)


def in_another_thread(func: Callable[[], object]) -> None:
    thread = threading.Thread(target=func)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def another_thread_has_listeners(manager: EventManager, cls: type[BaseEvent]) -> bool:
    answers: list[bool] = []
    in_another_thread(lambda: answers.append(manager.has_listeners(cls)))
    return answers[0]


def emit_on_worker(manager: EventManager, event: BaseEvent) -> EmitHandle:
    handle = manager.emit(event, block=False)
    assert handle is not None
    return handle


def test_release_emits_held_events_in_order(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed) as held:
        manager.emit(Changed(number=1))
        manager.emit(Deleted(number=2))
        manager.emit(Opened())
        manager.emit(Changed(number=3))
        assert recorder.names() == ["Opened"]

        held.release()

    assert recorder.names() == ["Opened", "Changed", "Deleted", "Changed"]
    assert [event.number for event in recorder.of(Changed)] == [1, 2, 3]


def test_discard_discards_held_events(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed) as held:
        manager.emit(Changed())
        held.discard()
        held.release()

    assert recorder.events == []


def test_leaving_the_block_discards_held_events(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        manager.emit(Changed())

    with pytest.raises(OSError, match="failed"), manager.hold(Changed):
        manager.emit(Changed())
        raise OSError("failed")

    assert recorder.events == []


@pytest.mark.parametrize("end", ["release", "discard"])
def test_release_and_discard_end_the_hold(manager: EventManager, recorder: EventRecorder, end: str) -> None:
    with manager.hold(Changed) as held:
        getattr(held, end)()
        manager.emit(Changed())

    assert recorder.names() == ["Changed"]


def test_hold_filter_limits_held_events(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed, {"source": "store", "owner.name": "me"}):
        manager.emit(Changed("store"))
        manager.emit(Changed("other"))

    assert recorder.names() == ["Changed", "Changed"]

    with manager.hold(Changed, {"source": "store"}):
        manager.emit(Changed("store"))

    assert len(recorder.events) == 2


def test_failing_hold_filter_holds_nothing_and_is_reported(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed, {"broken": 1}):
        manager.emit(Changed())

    assert recorder.names() == ["ListenerErrorEvent", "Changed"]
    assert isinstance(recorder.one(ListenerErrorEvent).error, OSError)


def test_recursion_error_in_hold_filter_propagates(manager: EventManager) -> None:
    with manager.hold(Changed, {"endless": 1}), pytest.raises(RecursionError):
        manager.emit(Changed())


def test_memory_error_in_hold_filter_propagates(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed, {"full": 1}), pytest.raises(MemoryError):
        manager.emit(Changed())

    assert recorder.names() == []


def test_invalid_hold_filter_is_refused(manager: EventManager) -> None:
    with pytest.raises(InvalidListenerError, match="filter must map"):
        manager.hold(Changed, {"not a name": 1})


def test_events_of_other_threads_are_not_held(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        in_another_thread(lambda: manager.emit(Changed()))

    assert recorder.names() == ["Changed"]


def test_events_of_other_tasks_are_not_held(manager: EventManager, recorder: EventRecorder) -> None:
    async def other() -> None:
        manager.emit(Changed())

    async def main() -> None:
        with manager.hold(Changed):
            manager.emit(Deleted())
            await asyncio.create_task(other())
            manager.emit(Deleted())

    asyncio.run(main())
    assert recorder.names() == ["Changed"]


def test_hold_spans_awaits_of_its_task(manager: EventManager, recorder: EventRecorder) -> None:
    async def hold_and_release(number: int) -> None:
        with manager.hold(Changed) as held:
            for _ in range(3):
                manager.emit(Changed(number=number))
                await asyncio.sleep(0)
            held.release()

    async def main() -> None:
        await asyncio.gather(*(hold_and_release(number) for number in range(3)))

    asyncio.run(main())
    assert [event.number for event in recorder.of(Changed)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_inner_hold_releases_into_the_outer_hold(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed) as outer:
        manager.emit(Changed())
        with manager.hold(Deleted) as inner:
            manager.emit(Deleted())
            assert (len(outer), len(inner)) == (1, 1)
            inner.release()
        assert (len(outer), len(inner)) == (2, 0)
        assert recorder.events == []
        outer.release()

    assert recorder.names() == ["Changed", "Deleted"]


def test_hold_is_decided_at_the_call_of_emit(manager: EventManager, recorder: EventRecorder) -> None:
    blocked = threading.Event()
    with manager.connect(Opened, lambda event: blocked.wait(10)):
        waiting = [emit_on_worker(manager, Opened()), emit_on_worker(manager, Changed(number=1))]
        with manager.hold(Changed) as held:
            kept = emit_on_worker(manager, Changed(number=2))
            blocked.set()
            assert all(handle.join(10) for handle in waiting)
            assert not kept.done()
            assert [event.number for event in recorder.of(Changed)] == [1]
            held.release()
        assert kept.join(10)

    assert [event.number for event in recorder.of(Changed)] == [1, 2]


def test_join_of_discarded_event_returns(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        handle = emit_on_worker(manager, Changed())

    assert handle.done()
    assert recorder.events == []


def test_listeners_filters_and_disable_apply_at_release(manager: EventManager) -> None:
    received: list[str] = []
    with manager.connect(Changed, lambda event: received.append("early")), manager.hold(Changed) as held:
        event = Changed(colour="red")
        manager.emit(event)
        with manager.disabled(Deleted):
            manager.emit(Deleted())
        vars(event)["colour"] = "blue"
        manager.connect(Changed, lambda event: received.append("late"), {"colour": "blue"})
        held.release()
    assert received == ["early", "late", "early"]

    with manager.hold(Changed) as held:
        manager.emit(Changed(colour="blue"))
        manager.disable(BaseEvent)
        held.release()
    assert received == ["early", "late", "early"]


def test_event_handled_while_held_reaches_no_listener(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed) as held:
        event = Changed()
        manager.emit(event)
        event.mark_as_handled()
        held.release()

    assert recorder.events == []


def test_has_listeners_is_true_for_held_class(manager: EventManager) -> None:
    with manager.hold(Changed) as held:
        assert manager.has_listeners(Changed)
        assert manager.has_listeners(Deleted)
        assert not manager.has_listeners(Opened)
        assert not another_thread_has_listeners(manager, Changed)
        held.discard()
        assert not manager.has_listeners(Changed)


def test_events_emitted_during_release_are_not_held(manager: EventManager, recorder: EventRecorder) -> None:
    manager.connect(Deleted, lambda event: manager.emit(Changed()))

    with manager.hold(Changed) as held:
        manager.emit(Deleted())
        manager.emit(Deleted())
        held.release()

    assert recorder.names() == ["Deleted", "Changed", "Deleted", "Changed"]


def test_release_of_strict_manager_raises_after_all_events() -> None:
    def fail(event: BaseEvent) -> None:
        raise OSError(str(event))

    manager = EventManager(strict=True)
    manager.connect(Changed, fail)

    with manager.hold(Changed) as held:
        manager.emit(Changed(number=1))
        manager.emit(Changed(number=2))
        with pytest.raises(ExceptionGroup) as caught:
            held.release()

    assert [str(error) for error in caught.value.exceptions] == ["Changed(number=1)", "Changed(number=2)"]


def test_interrupted_release_leaves_no_handle_waiting(manager: EventManager, recorder: EventRecorder) -> None:
    def interrupt(event: BaseEvent) -> None:
        raise KeyboardInterrupt

    manager.connect(Deleted, interrupt)

    with manager.hold(Changed) as held:
        manager.emit(Deleted())
        handle = emit_on_worker(manager, Changed())
        with pytest.raises(KeyboardInterrupt):
            held.release()

    assert handle.done()
    assert recorder.names() == ["Deleted"]


def test_hold_can_be_reused(manager: EventManager, recorder: EventRecorder) -> None:
    held = manager.hold(Changed)
    for _ in range(2):
        with held:
            manager.emit(Changed())
            held.release()

    assert recorder.names() == ["Changed", "Changed"]


def test_hold_repr_and_truth_value(manager: EventManager) -> None:
    with manager.hold(Changed) as held:
        assert held
        manager.emit(Changed())

        assert repr(held) == "<Hold: 1 of Changed>"
