"""BaseEvent: attributes, reserved names, repr."""

import copy
import pickle
from typing import Any

import pytest

from encore_events import BaseEvent, EncoreError, EventError, EventManager
from encore_events.ids import id_of
from encore_events.testing import EventRecorder


class Mixin:
    def refresh(self) -> None: ...


class Measured(Mixin, BaseEvent):
    size: int = 0

    @property
    def half(self) -> float:
        return self.size / 2

    @classmethod
    def empty(cls) -> "Measured":
        return cls()

    @staticmethod
    def unit() -> str:
        return "byte"


def test_keyword_arguments_become_attributes() -> None:
    event: Any = BaseEvent("me", colour="red", size=3)

    assert (event.source, event.colour, event.size) == ("me", "red", 3)


def test_source_defaults_to_none() -> None:
    assert BaseEvent().source is None


def test_mark_as_handled_sets_handled() -> None:
    event = BaseEvent()
    assert not event.handled

    event.mark_as_handled()

    assert event.handled


@pytest.mark.parametrize(
    "name",
    [
        "handled",
        "_handled",
        "_encore_id",
        "_encore_pending",
        "mark_as_handled",
        "pre_emit",
        "post_emit",
        "check_names",
        "made_of",
    ],
)
def test_attribute_shadowing_an_event_method_is_refused(name: str) -> None:
    with pytest.raises(EventError, match=f"BaseEvent cannot have an attribute '{name}'"):
        BaseEvent(**{name: None})


@pytest.mark.parametrize("name", ["half", "empty", "unit", "refresh", "handled", "__init__"])
def test_attribute_shadowing_a_subclass_method_is_refused(name: str) -> None:
    with pytest.raises(EventError, match=name):
        Measured(**{name: None})


def test_shadowing_error_is_encore_error_and_type_error() -> None:
    assert issubclass(EventError, EncoreError)
    assert issubclass(EventError, TypeError)


def test_class_attribute_default_can_be_overridden() -> None:
    assert Measured.empty().size == 0
    assert Measured(size=8).half == 4
    assert Measured.unit() == "byte"


def test_subclass_can_define_init() -> None:
    class Moved(BaseEvent):
        def __init__(self, distance: int) -> None:
            super().__init__(source="leg", distance=distance)

    assert repr(Moved(3)) == "Moved(distance=3)"


def test_repr_shows_plain_attributes_only() -> None:
    event = Measured(
        source="the source", key="a", size=2, ratio=0.5, error=None, data=b"secret", metadata={"owner": "secret"}
    )

    assert repr(event) == "Measured(key='a', size=2, ratio=0.5, error=None)"


def test_repr_of_event_that_grows_meanwhile_works() -> None:
    class Meddling(str):
        __slots__ = ()

        def __repr__(self) -> str:
            event.extra = 1
            return "meddling"

    event: Any = BaseEvent(word=Meddling())

    assert repr(event) == "BaseEvent(word=meddling)"


def test_check_names_refuses_shadowing_names() -> None:
    Measured.check_names({"size": 1, "colour": 2})

    with pytest.raises(EventError, match="Measured cannot have an attribute 'half', 'unit'"):
        Measured.check_names({"unit": 1, "half": 2, "size": 3})


def test_made_of_takes_over_the_dict() -> None:
    event: Any = Measured.made_of({"source": "me", "size": 8})

    assert (event.source, event.half, event.handled) == ("me", 4, False)
    assert repr(event) == "Measured(size=8)"


def test_made_of_calls_a_custom_init() -> None:
    class Moved(BaseEvent):
        def __init__(self, source: object = None, *, distance: int) -> None:
            super().__init__(source, distance=2 * distance)

    event: Any = Moved.made_of({"source": "leg", "distance": 3})

    assert (event.source, event.distance, event.handled) == ("leg", 6, False)


class Private(BaseEvent):
    """An event of a program that has private attributes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._id = self._pending = self._metadata = self._process = 5


def test_private_attributes_of_a_program_are_its_own(manager: EventManager, recorder: EventRecorder) -> None:
    first, second = Private(), Private()
    for event in (first, second):
        manager.deliver(event)

    assert recorder.events == [first, second]
    assert len({id_of(first), id_of(second), 5}) == 3
    for copied in (copy.copy(first), pickle.loads(pickle.dumps(first))):
        assert {name: vars(copied)[name] for name in ("_id", "_pending", "_metadata", "_process")} == dict.fromkeys(
            ("_id", "_pending", "_metadata", "_process"), 5
        )
