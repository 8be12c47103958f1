"""How an event reaches its listeners: order, veto, snapshot, hooks."""

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
    """An event that keeps a diary of its own emission."""

    def __init__(self, *diary: str) -> None:
        super().__init__(diary=list(diary))

    def pre_emit(self) -> None:
        self.diary: list[str] = ["pre"]

    def post_emit(self) -> None:
        self.diary.append("post")


class Box:
    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def hear(self, event: BaseEvent) -> None:
        self.heard.append("box")

    def __call__(self, event: BaseEvent) -> None:
        self.heard.append("box")


def named(name: str, heard: list[str]) -> Any:
    return lambda event: heard.append(name)


def test_emit_gives_nothing(manager: EventManager) -> None:
    assert manager.emit(Opened()) is None


def test_higher_priorities_come_first_and_equals_in_the_order_of_their_connects(manager: EventManager) -> None:
    heard: list[str] = []
    for name, priority in (("a", 0), ("b", 5), ("c", -0.5), ("d", 0), ("e", 5)):
        manager.connect(Opened, named(name, heard), priority=priority)

    manager.emit(Opened())

    assert heard == ["b", "e", "a", "d", "c"]


def test_the_order_holds_over_the_whole_hierarchy(manager: EventManager) -> None:
    heard: list[str] = []
    manager.connect(BaseEvent, named("base", heard))
    manager.connect(Reopened, named("reopened", heard))
    manager.connect(Timed, named("timed", heard), priority=1)
    manager.connect(Opened, named("opened", heard))

    manager.emit(Reopened())

    assert heard == ["timed", "base", "reopened", "opened"]


def test_who_handles_an_event_keeps_it_from_those_that_come_after(manager: EventManager) -> None:
    heard: list[str] = []
    manager.connect(Opened, named("before", heard))
    manager.connect(Opened, BaseEvent.mark_as_handled)
    manager.connect(Opened, named("after", heard))
    event = Opened()

    manager.emit(event)

    assert heard == ["before"]
    assert event.handled


def test_so_it_does_where_there_is_more_than_a_plain_loop(manager: EventManager) -> None:
    heard: list[str] = []
    manager.connect(Opened, named("before", heard), {"colour": "red"})
    manager.connect(Opened, BaseEvent.mark_as_handled, {"colour": "red"})
    manager.connect(Opened, named("after", heard), {"colour": "red"})

    manager.emit(Opened(colour="red"))

    assert heard == ["before"]


@pytest.mark.parametrize("event", [Opened(), Hooked()])
def test_an_event_that_is_already_handled_reaches_nobody(manager: EventManager, event: BaseEvent) -> None:
    heard: list[str] = []
    manager.connect(Opened, named("listener", heard))
    event.mark_as_handled()

    manager.emit(event)
    handle = manager.emit(event, block=False)
    asyncio.run(manager.emit_async(event))

    assert handle is not None
    assert handle.join(10)
    assert heard == []


def test_who_connects_during_an_emit_is_called_by_the_next_one_only(manager: EventManager) -> None:
    heard: list[str] = []
    late = named("late", heard)
    manager.connect(Opened, lambda event: manager.connect(Opened, late, priority=-1))

    manager.emit(Opened())
    assert heard == []

    manager.emit(Opened())
    assert heard == ["late"]


def test_who_disconnects_during_an_emit_is_still_called_by_it(manager: EventManager) -> None:
    heard: list[str] = []
    last = named("last", heard)
    leaving = manager.connect(Opened, lambda event: manager.disconnect(Opened, last))
    manager.connect(Opened, last)

    manager.emit(Opened())
    leaving.disconnect()
    manager.emit(Opened())

    assert heard == ["last"]


def test_an_emit_that_begins_after_a_connect_sees_it_even_within_another_emit(manager: EventManager) -> None:
    heard: list[str] = []
    inner = named("inner", heard)

    def connect_and_emit(event: BaseEvent) -> None:
        manager.connect(Timed, inner)
        manager.emit(Timed())
        manager.disconnect(Timed, inner)
        manager.emit(Timed())

    manager.emit(Timed())
    manager.connect(Opened, connect_and_emit)
    manager.emit(Opened())

    assert heard == ["inner"]


@pytest.mark.parametrize("is_method", [True, False])
@pytest.mark.parametrize("kind", [Opened, Hooked])
def test_a_listener_that_dies_during_an_emit_is_not_called(
    manager: EventManager, kind: type[Opened], *, is_method: bool
) -> None:
    heard: list[str] = []
    boxes = [Box(heard)]
    manager.connect(Opened, boxes[0].hear if is_method else boxes[0], weak=True)
    manager.emit(kind())

    manager.connect(Opened, lambda event: boxes.clear(), priority=1)
    manager.emit(kind())

    assert heard == ["box"]


def test_the_hooks_of_an_event_run_around_its_listeners(manager: EventManager) -> None:
    event = Hooked()
    manager.connect(Opened, lambda event: event.diary.append("listener"))  # type: ignore[attr-defined]  # Hooked has it

    manager.emit(event)

    assert event.diary == ["pre", "listener", "post"]


def test_what_pre_emit_sets_is_there_for_the_filters(manager: EventManager) -> None:
    event = Hooked()
    manager.connect(Opened, lambda event: event.diary.append("heard"), {"diary": ["pre"]})  # type: ignore[attr-defined]  # as above

    manager.emit(event)

    assert event.diary == ["pre", "heard", "post"]


def test_an_event_that_handles_itself_before_its_emit_reaches_nobody(manager: EventManager) -> None:
    class Shy(BaseEvent):
        def pre_emit(self) -> None:
            self.mark_as_handled()

    heard: list[str] = []
    manager.connect(Shy, named("listener", heard))

    manager.emit(Shy())

    assert heard == []


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_what_pre_emit_raises_is_the_emitters(manager: EventManager, error: type[Exception]) -> None:
    class Broken(BaseEvent):
        def pre_emit(self) -> None:
            raise error("not ready")

    heard: list[str] = []
    manager.connect(Broken, named("listener", heard))

    with pytest.raises(error, match="not ready"):
        manager.emit(Broken())

    assert heard == []


@pytest.mark.parametrize("block", [True, False])
def test_an_event_that_was_not_wholly_made_says_what_is_missing(manager: EventManager, *, block: bool) -> None:
    class Forgetful(BaseEvent):
        def __init__(self) -> None:
            self.colour = "red"

    with pytest.raises(EventError, match=r"Forgetful.__init__\(\) did not call super\(\).__init__\(\)"):
        manager.emit(Forgetful(), block)
    with pytest.raises(EventError, match="did not call"):
        asyncio.run(manager.emit_async(Forgetful()))


@pytest.mark.parametrize("filter", [None, {"colour": "red"}, {"colour": "blue"}, {"size": 1}, {"colour": ["red"]}])
def test_so_it_says_whoever_listens(manager: EventManager, filter: dict[str, Any] | None) -> None:  # noqa: A002
    class Forgetful(BaseEvent):
        def __init__(self) -> None:
            self.colour = "red"

    manager.connect(Forgetful, named("listener", []), filter)
    manager.connect(BaseEvent, named("other", []), filter)
    assert manager.has_listeners(Forgetful)

    with pytest.raises(EventError, match="did not call"):
        manager.emit(Forgetful())


@pytest.mark.parametrize("block", [True, False])
def test_what_is_no_event_cannot_be_emitted(manager: EventManager, *, block: bool) -> None:
    not_an_event: Any = "opened"

    with pytest.raises(EventError, match="derive"):
        manager.emit(not_an_event, block)


def test_has_listeners_is_what_an_emitter_asks_before_it_builds_an_event(manager: EventManager) -> None:
    assert not manager.has_listeners(Reopened)

    with manager.connect(Timed, print):
        assert manager.has_listeners(Reopened)
        assert not manager.has_listeners(Opened)

    assert not manager.has_listeners(Reopened)


def test_has_listeners_refuses_what_is_no_class_of_events(manager: EventManager) -> None:
    not_an_event: Any = int

    with pytest.raises(EventError, match="is not an event class"):
        manager.has_listeners(not_an_event)
