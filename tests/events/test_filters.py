"""Filters, predicates and the index over filters."""

import enum
import itertools
import math
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_events import BaseEvent, EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder


class Painted(BaseEvent):
    pass


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class EqualToAll:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


class Array:
    """Compares element by element and has no truth value, as numpy's arrays."""

    def __init__(self, *elements: int) -> None:
        self.elements = elements

    def __eq__(self, other: object) -> Any:
        return Array(*(element == other for element in self.elements))

    __hash__ = None  # type: ignore[assignment]  # as numpy's

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class LyingNumber(int):
    """Equal to a number, but with the hash of an object."""

    __hash__ = object.__hash__


class Uncomparable:
    """Raises on comparison."""

    def __eq__(self, other: object) -> bool:
        raise OSError("don't touch")

    def __hash__(self) -> int:
        return 1


NAN = math.nan
OBJECT = object()


def passes(manager: EventManager, filter: dict[str, Any], event: BaseEvent) -> bool:  # noqa: A002 (its name in the API)
    received: list[BaseEvent] = []
    with manager.connect(Painted, received.append, filter):
        manager.emit(event)
    return bool(received)


def appending(number: int, received: list[int]) -> Callable[[BaseEvent], None]:
    return lambda event: received.append(number)


def test_filter_matches_equal_values(manager: EventManager) -> None:
    assert passes(manager, {"colour": "red"}, Painted(colour="red"))
    assert not passes(manager, {"colour": "red"}, Painted(colour="blue"))


def test_filter_requires_all_attributes(manager: EventManager) -> None:
    wanted = {"colour": "red", "size": 2}

    assert passes(manager, wanted, Painted(colour="red", size=2))
    assert not passes(manager, wanted, Painted(colour="red", size=3))
    assert not passes(manager, wanted, Painted(colour="blue", size=2))


def test_empty_filter_matches_everything(manager: EventManager) -> None:
    assert passes(manager, {}, Painted())


def test_filter_follows_dotted_names(manager: EventManager) -> None:
    event = Painted(source=SimpleNamespace(owner=SimpleNamespace(name="me")))

    assert passes(manager, {"source.owner.name": "me"}, event)
    assert not passes(manager, {"source.owner.name": "you"}, event)


@pytest.mark.parametrize("path", ["colour", "source.colour", "colour.source"])
@pytest.mark.parametrize("wanted", [None, "red", [1]], ids=repr)
def test_missing_attribute_is_no_match_and_no_error(
    manager: EventManager, caplog: pytest.LogCaptureFixture, path: str, wanted: object
) -> None:
    assert not passes(manager, {path: wanted}, Painted())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("wanted", "value", "matches"),
    [
        (NAN, NAN, True),  # the same object, though not equal
        (NAN, float("-nan"), False),
        (None, None, True),
        (1, True, True),
        (1, 1.0, True),
        (1, "1", False),
        (1, Level.LOW, True),
        (Level.LOW, 1, True),
        (Colour.RED, Colour.RED, True),
        (Colour.RED, "red", False),
        ([1], [1], True),
        ([1], (1,), False),
        ({"a": 1}, {"a": 1}, True),
        (OBJECT, OBJECT, True),
        (OBJECT, object(), False),
        (EqualToAll(), 5, True),
        (5, EqualToAll(), True),
        (OBJECT, EqualToAll(), True),
        (5, LyingNumber(5), True),
        (LyingNumber(5), 5, True),
        (int, int, True),
        (b"a", b"a", True),
    ],
    ids=itertools.count(),
)
def test_filter_matches_by_identity_or_equality(
    manager: EventManager, *, wanted: object, value: object, matches: bool
) -> None:
    assert passes(manager, {"value": wanted}, Painted(value=value)) is matches


@pytest.mark.parametrize("wanted", [Array(1, 1), Uncomparable(), 5, [5]], ids=lambda wanted: type(wanted).__name__)
@pytest.mark.parametrize("value", [Array(1, 2), Uncomparable()], ids=lambda value: type(value).__name__)
def test_failing_comparison_is_no_match_and_reported(manager: EventManager, wanted: object, value: object) -> None:
    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        assert not passes(manager, {"value": wanted}, Painted(value=value))

    assert len(recorder.events) == 1


def test_array_matches_itself(manager: EventManager) -> None:
    array = Array(1, 2)

    assert passes(manager, {"value": array}, Painted(value=array))


def test_filter_is_copied(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    wanted = {"colour": "red"}
    manager.connect(Painted, received.append, wanted)

    wanted["colour"] = "blue"
    blue, red = Painted(colour="blue"), Painted(colour="red")
    manager.emit(blue)
    manager.emit(red)

    assert received == [red]


def test_predicate_runs_after_the_filter(manager: EventManager) -> None:
    asked: list[BaseEvent] = []
    received: list[BaseEvent] = []

    def ask(event: Any) -> bool:
        asked.append(event)
        return bool(event.size > 1)

    manager.connect(Painted, received.append, {"colour": "red"}, where=ask)
    for colour, size in (("red", 2), ("red", 1), ("blue", 2)):
        manager.emit(Painted(colour=colour, size=size))

    assert (len(asked), len(received)) == (2, 1)


def test_filters_and_predicates_run_before_the_first_listener(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Painted, lambda event: vars(event).update(colour="blue"))
    manager.connect(Painted, lambda event: received.append("filter"), {"colour": "red"})
    manager.connect(Painted, lambda event: received.append("where"), where=lambda event: event.colour == "red")
    manager.connect(Painted, lambda event: received.append("late"), {"colour": "blue"})

    manager.emit(Painted(colour="red"))

    assert received == ["filter", "where"]


def test_filtered_and_plain_listeners_keep_their_order(manager: EventManager) -> None:
    received: list[int] = []
    filters: list[dict[str, object]] = [{"a": 1}, {}, {"b": 1}, {"c": []}, {"a": 1}, {"a": 2}, {"b": 1}]
    for number, wanted in enumerate(filters):
        manager.connect(Painted, appending(number, received), wanted, priority=-(number % 2))

    manager.emit(Painted(a=1, b=1, c=[]))

    assert received == [0, 2, 4, 6, 1, 3]


def test_thousand_filters_share_one_lookup(manager: EventManager) -> None:
    class Counting(BaseEvent):
        looks = 0

        @property
        def number(self) -> int:
            self.looks += 1
            return 7

    received: list[int] = []
    for number in range(1000):
        manager.connect(Counting, appending(number, received), {"number": number})
    event = Counting()

    manager.emit(event)

    assert received == [7]
    assert event.looks <= 2


def test_most_selective_attribute_is_indexed(manager: EventManager) -> None:
    class Counting(BaseEvent):
        looks = 0

        @property
        def kind(self) -> str:
            self.looks += 1
            return "same"

    received: list[int] = []
    for number in range(100):
        wanted = {"kind": "same", "number": number}
        manager.connect(Counting, appending(number, received), wanted)
    event = Counting(number=7)

    manager.emit(event)

    assert received == [7]
    assert event.looks == 1


VALUES = [
    *(0, 1, True, 1.0, -0.0, 2, NAN, None, "1", "red", b"1", int, OBJECT),
    *(Colour.RED, Level.LOW, LyingNumber(1), LyingNumber(2), (1,), [1], {"a": 1}),
    *(EqualToAll(), Uncomparable(), Array(1, 1)),
]
VALUE = st.sampled_from(VALUES)
FILTER = st.dictionaries(st.sampled_from(["a", "b", "source.a"]), VALUE, max_size=3)
FILTER_OF_ONE = st.dictionaries(
    st.just("a"), st.sampled_from([0, 1, True, 2.0, NAN, "1", b"1", None, int, OBJECT, Colour.RED])
)
CONNECTIONS = st.lists(st.tuples(FILTER, st.integers(-1, 1)), max_size=12)
CONNECTIONS_OF_ONE = st.lists(st.tuples(FILTER_OF_ONE, st.integers(-1, 1)), max_size=12)


def matches(event: BaseEvent, wanted: dict[str, Any]) -> bool:
    """Apply the definition of a match, without an index."""
    for path, value in wanted.items():
        try:
            found = operator.attrgetter(path)(event)
            if not (found is value or found == value):
                return False
        except Exception:
            return False
    return True


@given(
    filters=CONNECTIONS | CONNECTIONS_OF_ONE,
    attributes=st.lists(st.dictionaries(st.sampled_from(["a", "b"]), VALUE), min_size=1, max_size=3),
    inner=st.dictionaries(st.just("a"), VALUE),
)
def test_index_matches_a_linear_scan(
    filters: list[tuple[dict[str, Any], int]], attributes: list[dict[str, Any]], inner: dict[str, Any]
) -> None:
    manager = EventManager()
    received: list[int] = []
    for number, (wanted, priority) in enumerate(filters):
        manager.connect(Painted, appending(number, received), wanted, priority)
    in_order = sorted(range(len(filters)), key=lambda number: -filters[number][1])

    for event in [Painted(source=SimpleNamespace(**inner), **some) for some in attributes]:
        manager.emit(event)

        assert received == [number for number in in_order if matches(event, filters[number][0])]
        received.clear()
