"""Holding events back until it is known whether they are true."""

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


def emitted_aside(manager: EventManager, event: BaseEvent) -> EmitHandle:
    handle = manager.emit(event, block=False)
    assert handle is not None
    return handle


def test_held_events_are_emitted_in_order_when_they_are_released(
    manager: EventManager, recorder: EventRecorder
) -> None:
    with manager.hold(Changed) as held:
        manager.emit(Changed(number=1))
        manager.emit(Deleted(number=2))
        manager.emit(Opened())
        manager.emit(Changed(number=3))
        assert recorder.names() == ["Opened"]

        held.release()

    assert recorder.names() == ["Opened", "Changed", "Deleted", "Changed"]
    assert [event.number for event in recorder.of(Changed)] == [1, 2, 3]


def test_discarded_events_are_forgotten(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed) as held:
        manager.emit(Changed())
        held.discard()
        held.release()

    assert recorder.events == []


def test_leaving_the_block_otherwise_discards(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        manager.emit(Changed())

    with pytest.raises(OSError, match="failed"), manager.hold(Changed):
        manager.emit(Changed())
        raise OSError("failed")

    assert recorder.events == []


@pytest.mark.parametrize("end", ["release", "discard"])
def test_either_ends_the_hold(manager: EventManager, recorder: EventRecorder, end: str) -> None:
    with manager.hold(Changed) as held:
        getattr(held, end)()
        manager.emit(Changed())

    assert recorder.names() == ["Changed"]


def test_only_what_the_filter_lets_pass_is_held(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed, {"source": "store", "owner.name": "me"}):
        manager.emit(Changed("store"))
        manager.emit(Changed("other"))

    assert recorder.names() == ["Changed", "Changed"]

    with manager.hold(Changed, {"source": "store"}):
        manager.emit(Changed("store"))

    assert len(recorder.events) == 2


def test_a_filter_that_fails_holds_nothing_and_is_told(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed, {"broken": 1}):
        manager.emit(Changed())

    assert recorder.names() == ["ListenerErrorEvent", "Changed"]
    assert isinstance(recorder.one(ListenerErrorEvent).error, OSError)


def test_an_endless_filter_goes_through(manager: EventManager) -> None:
    with manager.hold(Changed, {"endless": 1}), pytest.raises(RecursionError):
        manager.emit(Changed())


def test_what_could_not_be_asked_for_want_of_memory_is_not_emitted(
    manager: EventManager, recorder: EventRecorder
) -> None:
    with manager.hold(Changed, {"full": 1}), pytest.raises(MemoryError):
        manager.emit(Changed())

    assert recorder.names() == []


def test_a_filter_that_can_never_match_is_refused(manager: EventManager) -> None:
    with pytest.raises(InvalidListenerError, match="filter must map"):
        manager.hold(Changed, {"not a name": 1})


def test_the_events_of_another_thread_pass(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        in_another_thread(lambda: manager.emit(Changed()))

    assert recorder.names() == ["Changed"]


def test_the_events_of_another_task_pass(manager: EventManager, recorder: EventRecorder) -> None:
    async def other() -> None:
        manager.emit(Changed())

    async def main() -> None:
        with manager.hold(Changed):
            manager.emit(Deleted())
            await asyncio.create_task(other())
            manager.emit(Deleted())

    asyncio.run(main())
    assert recorder.names() == ["Changed"]


def test_a_task_holds_across_its_awaits(manager: EventManager, recorder: EventRecorder) -> None:
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


def test_the_innermost_hold_takes_an_event_and_releases_it_into_the_outer(
    manager: EventManager, recorder: EventRecorder
) -> None:
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


def test_whether_an_event_is_held_is_decided_when_emit_is_called(
    manager: EventManager, recorder: EventRecorder
) -> None:
    blocked = threading.Event()
    with manager.connect(Opened, lambda event: blocked.wait(10)):
        waiting = [emitted_aside(manager, Opened()), emitted_aside(manager, Changed(number=1))]
        with manager.hold(Changed) as held:
            kept = emitted_aside(manager, Changed(number=2))
            blocked.set()
            assert all(handle.join(10) for handle in waiting)
            assert not kept.done()
            assert [event.number for event in recorder.of(Changed)] == [1]
            held.release()
        assert kept.join(10)

    assert [event.number for event in recorder.of(Changed)] == [1, 2]


def test_nobody_waits_for_an_event_that_was_discarded(manager: EventManager, recorder: EventRecorder) -> None:
    with manager.hold(Changed):
        handle = emitted_aside(manager, Changed())

    assert handle.done()
    assert recorder.events == []


def test_listeners_filters_and_disable_apply_at_the_release(manager: EventManager) -> None:
    heard: list[str] = []
    with manager.connect(Changed, lambda event: heard.append("early")), manager.hold(Changed) as held:
        event = Changed(colour="red")
        manager.emit(event)
        with manager.disabled(Deleted):
            manager.emit(Deleted())
        vars(event)["colour"] = "blue"
        manager.connect(Changed, lambda event: heard.append("late"), {"colour": "blue"})
        held.release()
    assert heard == ["early", "late", "early"]

    with manager.hold(Changed) as held:
        manager.emit(Changed(colour="blue"))
        manager.disable(BaseEvent)
        held.release()
    assert heard == ["early", "late", "early"]


def test_an_event_that_was_handled_while_it_was_held_reaches_nobody(
    manager: EventManager, recorder: EventRecorder
) -> None:
    with manager.hold(Changed) as held:
        event = Changed()
        manager.emit(event)
        event.mark_as_handled()
        held.release()

    assert recorder.events == []


def test_an_event_that_would_be_held_is_worth_building(manager: EventManager) -> None:
    with manager.hold(Changed) as held:
        assert manager.has_listeners(Changed)
        assert manager.has_listeners(Deleted)
        assert not manager.has_listeners(Opened)
        assert not another_thread_has_listeners(manager, Changed)
        held.discard()
        assert not manager.has_listeners(Changed)


def test_what_a_listener_emits_during_the_release_is_not_held(manager: EventManager, recorder: EventRecorder) -> None:
    manager.connect(Deleted, lambda event: manager.emit(Changed()))

    with manager.hold(Changed) as held:
        manager.emit(Deleted())
        manager.emit(Deleted())
        held.release()

    assert recorder.names() == ["Deleted", "Changed", "Deleted", "Changed"]


def test_a_strict_manager_raises_after_all_were_released() -> None:
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


def test_an_interrupt_of_the_release_leaves_nobody_waiting(manager: EventManager, recorder: EventRecorder) -> None:
    def interrupt(event: BaseEvent) -> None:
        raise KeyboardInterrupt

    manager.connect(Deleted, interrupt)

    with manager.hold(Changed) as held:
        manager.emit(Deleted())
        handle = emitted_aside(manager, Changed())
        with pytest.raises(KeyboardInterrupt):
            held.release()

    assert handle.done()
    assert recorder.names() == ["Deleted"]


def test_a_hold_may_be_used_again(manager: EventManager, recorder: EventRecorder) -> None:
    held = manager.hold(Changed)
    for _ in range(2):
        with held:
            manager.emit(Changed())
            held.release()

    assert recorder.names() == ["Changed", "Changed"]


def test_a_hold_says_what_it_holds_and_is_true_though_empty(manager: EventManager) -> None:
    with manager.hold(Changed) as held:
        assert held
        manager.emit(Changed())

        assert repr(held) == "<Hold: 1 of Changed>"
