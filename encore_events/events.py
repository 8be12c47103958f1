"""The base class of events, and the events that the bus emits about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from encore_events.copying import State, deep, portable, portable_items, set_state, state_of
from encore_events.errors import EventError
from encore_events.text import repr_of

__all__ = ["BaseEvent", "EventsDroppedEvent", "ListenerErrorEvent", "check_event_class"]

_markings: list[Callable[[], object]] = []

_PLAIN = (str, int, float, type(None))
_OF_THE_DISPATCH = "_encore_pending"  # a copy has yet to be emitted


class BaseEvent:
    """An event. Keyword arguments become its attributes.

    >>> event = BaseEvent(source="me", colour="red")
    >>> event.colour, event.handled
    ('red', False)

    Args:
        source: the object that the event comes from.
        attributes: anything else, readable as `event.name`.

    An event can be copied and pickled. It pickles its source as the source's name, and each attribute that can't be
    pickled as its `repr`.

    Raises:
        EventError: an attribute has the name of a method or property.
    """

    source: Any = None
    _handled = False
    _reserved: frozenset[str] = frozenset(
        (
            "_handled",
            "_encore_id",
            "_encore_pending",
            "handled",
            "mark_as_handled",
            "pre_emit",
            "post_emit",
            "check_names",
            "made_of",
        )
    )

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the names of the class's methods and properties."""
        super().__init_subclass__(**kwargs)
        members = ((name, value) for base in cls.__mro__[:-1] for name, value in vars(base).items())
        kinds = (property, classmethod, staticmethod)
        names = {name for name, value in members if callable(value) or isinstance(value, kinds)}
        cls._reserved = BaseEvent._reserved | names

    def __init__(self, source: object = None, **attributes: Any) -> None:
        self.check_names(attributes)
        self.__dict__.update(attributes)
        self.source = source

    @classmethod
    def check_names(cls, attributes: dict[str, Any]) -> None:
        """Raise EventError if one of `attributes` would shadow a method or property."""
        if attributes.keys().isdisjoint(cls._reserved):
            return
        names = ", ".join(sorted(repr(name) for name in cls._reserved.intersection(attributes)))
        raise EventError(f"{cls.__name__} cannot have an attribute {names}: that is a method or property of the event")

    @classmethod
    def made_of(cls, attributes: dict[str, Any]) -> Self:
        """Return an event with `attributes` (`source` included) as its `__dict__`: fast and unchecked.

        A class with an `__init__` of its own is called with them instead.
        """
        if cls.__init__ is not BaseEvent.__init__:
            return cls(**attributes)
        event = cls.__new__(cls)
        event.__dict__ = attributes
        return event

    @property
    def handled(self) -> bool:
        """True if a listener has called `mark_as_handled()`."""
        return self._handled

    def mark_as_handled(self) -> None:
        """Keep the event from all later listeners."""
        for begins in _markings:
            begins()
        self._handled = True

    def pre_emit(self) -> None:
        """Run before filters and listeners; a hook for subclasses."""

    def post_emit(self) -> None:
        """Run after the last listener, even if one raised; a hook for subclasses."""

    def __getstate__(self) -> State:
        """Return the attributes for a pickle."""
        state = state_of(self)
        state.pop(_OF_THE_DISPATCH, None)
        source = state.get("source")
        return {**portable_items(state | {"source": None}), "source": name_of(source)}

    def __setstate__(self, state: State) -> None:
        set_state(self, state)
        if self._handled:
            BaseEvent.mark_as_handled(self)

    def __copy__(self) -> Self:
        copied = set_state(type(self).__new__(type(self)), state_of(self))
        copied.__dict__.pop(_OF_THE_DISPATCH, None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy with the same source, and with copies of the other attributes that can be copied."""
        copied = memo[id(self)] = self.__copy__()
        others = {name: value for name, value in state_of(copied).items() if name != "source"}
        return set_state(copied, {name: deep(value, memo) for name, value in others.items()})

    def __repr__(self) -> str:
        """Return the class and the plain attributes: never the source, metadata or a value."""
        fields = (
            f"{name}={value!r}"
            for name, value in vars(self).copy().items()
            if isinstance(value, _PLAIN) and not name.startswith("_") and name != "source"
        )
        return f"{type(self).__name__}({', '.join(fields)})"


def name_of(source: object) -> Any:
    """Return the name of an event's source; without one, a plain source itself, or the `repr` of another."""
    try:
        name = getattr(source, "name", None)
    except Exception:  # noqa: BLE001 (a property of the program's)
        name = None
    return name if isinstance(name, str) else portable(source if isinstance(source, _PLAIN) else repr_of(source))


def before_marking(call: Callable[[], object]) -> None:
    """Have `call` called before any event is marked as handled. Until then, nobody has to look at an event for that."""
    _markings.append(call)


def check_event_class(cls: object) -> None:
    """Raise EventError unless `cls` is an event class."""
    if not (isinstance(cls, type) and issubclass(cls, BaseEvent)):
        raise EventError(f"{cls!r} is not an event class: derive it from BaseEvent")


def check_event(event: object) -> None:
    """Raise EventError unless `event` is an event."""
    if not isinstance(event, BaseEvent):
        raise EventError(f"only events can be emitted, not {event!r}: derive its class from BaseEvent")


def has_hooks(cls: type[BaseEvent]) -> bool:
    """Return whether `cls` overrides `pre_emit` or `post_emit`."""
    return cls.pre_emit is not BaseEvent.pre_emit or cls.post_emit is not BaseEvent.post_emit


class ListenerErrorEvent(BaseEvent):
    """A listener, filter or predicate raised an error.

    It does not reach the listener that failed. An error in a listener of this event is only logged, so there is no
    recursion.

    Attributes:
        event: the event that was being emitted.
        listener: the function that failed, as passed to `connect`.
        error: the exception that it raised.
    """

    event: BaseEvent
    listener: object
    error: Exception


class EventsDroppedEvent(BaseEvent):
    """A queue dropped events.

    Attributes:
        queue: the queue's name, from a closed set, such as 'worker'.
        reason: the reason, from a closed set, such as 'exit'.
        count: the number of dropped events.
    """

    queue: str
    reason: str
    count: int
