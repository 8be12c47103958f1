"""BaseEvent: its attributes, what it refuses, how it shows itself."""

from typing import Any

import pytest

from encore_events import BaseEvent, EncoreError, EventError


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


def test_an_event_has_the_attributes_that_it_was_made_with() -> None:
    event: Any = BaseEvent("me", colour="red", size=3)

    assert (event.source, event.colour, event.size) == ("me", "red", 3)


def test_an_event_of_nobody_has_no_source() -> None:
    assert BaseEvent().source is None


def test_an_event_is_handled_once_a_listener_says_so() -> None:
    event = BaseEvent()
    assert not event.handled

    event.mark_as_handled()

    assert event.handled


@pytest.mark.parametrize(
    "name", ["handled", "_handled", "mark_as_handled", "pre_emit", "post_emit", "check_names", "made_of"]
)
def test_an_attribute_may_not_shadow_what_an_event_does(name: str) -> None:
    with pytest.raises(EventError, match=f"BaseEvent cannot have an attribute '{name}'"):
        BaseEvent(**{name: None})


@pytest.mark.parametrize("name", ["half", "empty", "unit", "refresh", "handled", "__init__"])
def test_nor_what_its_own_class_does(name: str) -> None:
    with pytest.raises(EventError, match=name):
        Measured(**{name: None})


def test_a_shadowing_attribute_is_both_an_error_of_encore_and_a_type_error() -> None:
    assert issubclass(EventError, EncoreError)
    assert issubclass(EventError, TypeError)


def test_a_default_of_the_class_is_no_method_and_may_be_set() -> None:
    assert Measured.empty().size == 0
    assert Measured(size=8).half == 4
    assert Measured.unit() == "byte"


def test_a_subclass_may_have_an_init_of_its_own() -> None:
    class Moved(BaseEvent):
        def __init__(self, distance: int) -> None:
            super().__init__(source="leg", distance=distance)

    assert repr(Moved(3)) == "Moved(distance=3)"


def test_an_event_shows_its_plain_attributes_and_never_a_source_or_a_value() -> None:
    event = Measured(
        source="the source", key="a", size=2, ratio=0.5, error=None, data=b"secret", metadata={"owner": "secret"}
    )

    assert repr(event) == "Measured(key='a', size=2, ratio=0.5, error=None)"


def test_an_event_that_grows_while_it_shows_itself_still_does() -> None:
    class Meddling(str):
        __slots__ = ()

        def __repr__(self) -> str:
            event.extra = 1
            return "meddling"

    event: Any = BaseEvent(word=Meddling())

    assert repr(event) == "BaseEvent(word=meddling)"


def test_names_can_be_checked_before_there_is_an_event() -> None:
    Measured.check_names({"size": 1, "colour": 2})

    with pytest.raises(EventError, match="Measured cannot have an attribute 'half', 'unit'"):
        Measured.check_names({"unit": 1, "half": 2, "size": 3})


def test_an_event_can_be_made_of_a_dict() -> None:
    event: Any = Measured.made_of({"source": "me", "size": 8})

    assert (event.source, event.half, event.handled) == ("me", 4, False)
    assert repr(event) == "Measured(size=8)"


def test_an_event_with_an_init_of_its_own_is_made_with_it_even_so() -> None:
    class Moved(BaseEvent):
        def __init__(self, source: object = None, *, distance: int) -> None:
            super().__init__(source, distance=2 * distance)

    event: Any = Moved.made_of({"source": "leg", "distance": 3})

    assert (event.source, event.distance, event.handled) == ("leg", 6, False)
