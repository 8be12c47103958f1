"""Emitting events: order, veto, snapshot, hooks."""

import asyncio
from typing import Any

import pytest

from encore_events import BaseEvent, EventError, EventManager


class Opened(BaseEvent):
    pass


class Timed(BaseEvent):
    pass


class Reopened(Opened, Timed):
    pass


class Hooked(Opened):
    """An event that records the calls of its hooks."""

    def __init__(self, *diary: str) -> None:
        super().__init__(diary=list(diary))

    def pre_emit(self) -> None:
        self.diary: list[str] = ["pre"]

    def post_emit(self) -> None:
        self.diary.append("post")


class Box:
    def __init__(self, received: list[str]) -> None:
        self.received = received

    def receive(self, event: BaseEvent) -> None:
        self.received.append("box")

    def __call__(self, event: BaseEvent) -> None:
        self.received.append("box")


def named(name: str, received: list[str]) -> Any:
    return lambda event: received.append(name)


def test_emit_returns_none(manager: EventManager) -> None:
    assert manager.emit(Opened()) is None


def test_listeners_run_by_priority_then_connect_order(manager: EventManager) -> None:
    received: list[str] = []
    for name, priority in (("a", 0), ("b", 5), ("c", -0.5), ("d", 0), ("e", 5)):
        manager.connect(Opened, named(name, received), priority=priority)

    manager.emit(Opened())

    assert received == ["b", "e", "a", "d", "c"]


def test_order_covers_the_whole_hierarchy(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(BaseEvent, named("base", received))
    manager.connect(Reopened, named("reopened", received))
    manager.connect(Timed, named("timed", received), priority=1)
    manager.connect(Opened, named("opened", received))

    manager.emit(Reopened())

    assert received == ["timed", "base", "reopened", "opened"]


def test_handled_event_skips_later_listeners(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Opened, named("before", received))
    manager.connect(Opened, BaseEvent.mark_as_handled)
    manager.connect(Opened, named("after", received))
    event = Opened()

    manager.emit(event)

    assert received == ["before"]
    assert event.handled


def test_handled_event_with_filters_skips_later_listeners(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Opened, named("before", received), {"colour": "red"})
    manager.connect(Opened, BaseEvent.mark_as_handled, {"colour": "red"})
    manager.connect(Opened, named("after", received), {"colour": "red"})

    manager.emit(Opened(colour="red"))

    assert received == ["before"]


@pytest.mark.parametrize("event", [Opened(), Hooked()])
def test_already_handled_event_reaches_no_listener(manager: EventManager, event: BaseEvent) -> None:
    received: list[str] = []
    manager.connect(Opened, named("listener", received))
    event.mark_as_handled()

    manager.emit(event)
    handle = manager.emit(event, block=False)
    asyncio.run(manager.emit_async(event))

    assert handle is not None
    assert handle.join(10)
    assert received == []


def test_connect_during_emit_takes_effect_at_the_next_emit(manager: EventManager) -> None:
    received: list[str] = []
    late = named("late", received)
    manager.connect(Opened, lambda event: manager.connect(Opened, late, priority=-1))

    manager.emit(Opened())
    assert received == []

    manager.emit(Opened())
    assert received == ["late"]


def test_disconnect_during_emit_takes_effect_at_the_next_emit(manager: EventManager) -> None:
    received: list[str] = []
    last = named("last", received)
    leaving = manager.connect(Opened, lambda event: manager.disconnect(Opened, last))
    manager.connect(Opened, last)

    manager.emit(Opened())
    leaving.disconnect()
    manager.emit(Opened())

    assert received == ["last"]


def test_nested_emit_sees_an_earlier_connect(manager: EventManager) -> None:
    received: list[str] = []
    inner = named("inner", received)

    def connect_and_emit(event: BaseEvent) -> None:
        manager.connect(Timed, inner)
        manager.emit(Timed())
        manager.disconnect(Timed, inner)
        manager.emit(Timed())

    manager.emit(Timed())
    manager.connect(Opened, connect_and_emit)
    manager.emit(Opened())

    assert received == ["inner"]


@pytest.mark.parametrize("is_method", [True, False])
@pytest.mark.parametrize("kind", [Opened, Hooked])
def test_listener_collected_during_emit_is_not_called(
    manager: EventManager, kind: type[Opened], *, is_method: bool
) -> None:
    received: list[str] = []
    boxes = [Box(received)]
    manager.connect(Opened, boxes[0].receive if is_method else boxes[0], weak=True)
    manager.emit(kind())

    manager.connect(Opened, lambda event: boxes.clear(), priority=1)
    manager.emit(kind())

    assert received == ["box"]


def test_hooks_run_around_listeners(manager: EventManager) -> None:
    event = Hooked()
    manager.connect(Opened, lambda event: event.diary.append("listener"))  # type: ignore[attr-defined]  # Hooked has it

    manager.emit(event)

    assert event.diary == ["pre", "listener", "post"]


def test_attribute_set_by_pre_emit_is_seen_by_filters(manager: EventManager) -> None:
    event = Hooked()
    manager.connect(Opened, lambda event: event.diary.append("received"), {"diary": ["pre"]})  # type: ignore[attr-defined]  # as above

    manager.emit(event)

    assert event.diary == ["pre", "received", "post"]


def test_event_handled_in_pre_emit_reaches_no_listener(manager: EventManager) -> None:
    class Shy(BaseEvent):
        def pre_emit(self) -> None:
            self.mark_as_handled()

    received: list[str] = []
    manager.connect(Shy, named("listener", received))

    manager.emit(Shy())

    assert received == []


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_error_in_pre_emit_reaches_the_emitter(manager: EventManager, error: type[Exception]) -> None:
    class Broken(BaseEvent):
        def pre_emit(self) -> None:
            raise error("not ready")

    received: list[str] = []
    manager.connect(Broken, named("listener", received))

    with pytest.raises(error, match="not ready"):
        manager.emit(Broken())

    assert received == []


class Forgetful(BaseEvent):
    def __init__(self) -> None:
        self.colour = "red"


@pytest.mark.parametrize(
    ("filter", "is_received"), [(None, True), ({"colour": "red"}, True), ({"source": None}, True), ({"size": 1}, False)]
)
def test_event_without_super_init_is_received(
    manager: EventManager,
    filter: dict[str, Any] | None,  # noqa: A002
    *,
    is_received: bool,
) -> None:
    received: list[BaseEvent] = []
    manager.connect(Forgetful, received.append, filter)
    event = Forgetful()

    manager.emit(event)
    asyncio.run(manager.emit_async(event))
    handle = manager.emit(event, block=False)

    assert handle is not None
    assert handle.join(timeout=20)
    assert received == [event] * 3 * is_received


def test_event_without_super_init_can_be_handled(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Forgetful, Forgetful.mark_as_handled, priority=1)
    manager.connect(Forgetful, received.append)
    event = Forgetful()
    before = event.handled

    manager.emit(event)

    assert (before, event.handled) == (False, True)
    assert received == []


@pytest.mark.parametrize("block", [True, False])
def test_emit_of_non_event_raises(manager: EventManager, *, block: bool) -> None:
    not_an_event: Any = "opened"

    with pytest.raises(EventError, match="derive"):
        manager.emit(not_an_event, block)


def test_has_listeners_covers_base_classes(manager: EventManager) -> None:
    assert not manager.has_listeners(Reopened)

    with manager.connect(Timed, print):
        assert manager.has_listeners(Reopened)
        assert not manager.has_listeners(Opened)

    assert not manager.has_listeners(Reopened)


def test_has_listeners_refuses_non_event_class(manager: EventManager) -> None:
    not_an_event: Any = int

    with pytest.raises(EventError, match="is not an event class"):
        manager.has_listeners(not_an_event)
