"""Events: what is emitted, and what the bus tells of itself."""

from __future__ import annotations

from typing import Any, Self

from encore_events.errors import EventError

__all__ = ["BaseEvent", "EventsDroppedEvent", "ListenerErrorEvent", "check_event_class"]

_PLAIN = (str, int, float, type(None))


class BaseEvent:
    """An event whose attributes are what it was made with.

    >>> event = BaseEvent(source="me", colour="red")
    >>> event.colour, event.handled
    ('red', False)

    Args:
        source: the object that the event comes from.
        attributes: whatever else the event tells; readable as `event.name`.

    Raises:
        EventError: an attribute has the name of a method or a property.
    """

    source: Any
    _handled: bool
    _reserved: frozenset[str] = frozenset(
        {
            *("_handled", "_id", "_pending", "handled"),
            *("mark_as_handled", "pre_emit", "post_emit", "check_names", "made_of"),
        }
    )

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Note which names belong to the class's methods and properties."""
        super().__init_subclass__(**kwargs)
        members = ((name, value) for base in cls.__mro__[:-1] for name, value in vars(base).items())
        names = {name for name, value in members if _is_behaviour(value)}
        cls._reserved = BaseEvent._reserved | names

    def __init__(self, source: object = None, **attributes: Any) -> None:
        """Make the event; see the class."""
        self.check_names(attributes)
        self.__dict__.update(attributes)
        self.source = source
        self._handled = False

    @classmethod
    def check_names(cls, attributes: dict[str, Any]) -> None:
        """Refuse attributes that would shadow a method or a property.

        Raises:
            EventError: with their names.
        """
        if attributes.keys().isdisjoint(cls._reserved):
            return
        names = ", ".join(sorted(repr(name) for name in cls._reserved.intersection(attributes)))
        raise EventError(f"{cls.__name__} cannot have an attribute {names}: that is a method or property of the event")

    @classmethod
    def made_of(cls, attributes: dict[str, Any]) -> Self:
        """An event that takes the dict over as its attributes, `source` among them: quick, and unchecked.

        For those who make the same kind of event again and again. A class with an `__init__` of its own is made
        with that.
        """
        if cls.__init__ is not BaseEvent.__init__:
            return cls(**attributes)
        event = cls.__new__(cls)
        event.__dict__ = attributes
        event._handled = False  # noqa: SLF001 (its own)
        return event

    @property
    def handled(self) -> bool:
        """Whether a listener has said that no other needs to see this event."""
        return self._handled

    def mark_as_handled(self) -> None:
        """Keep the event from the listeners that come after this one."""
        self._handled = True

    def pre_emit(self) -> None:
        """Run before the first listener, and before filters are decided. For subclasses."""

    def post_emit(self) -> None:
        """Run after the last listener, whatever happened. For subclasses."""

    def __repr__(self) -> str:
        """The class and the plain attributes, never the source, metadata or a value."""
        fields = (
            f"{name}={value!r}"
            for name, value in vars(self).copy().items()
            if isinstance(value, _PLAIN) and not name.startswith("_") and name != "source"
        )
        return f"{type(self).__name__}({', '.join(fields)})"


def check_event_class(cls: object) -> None:
    """Refuse what is not a class of events.

    Raises:
        EventError: with the reason.
    """
    if not (isinstance(cls, type) and issubclass(cls, BaseEvent)):
        raise EventError(f"{cls!r} is not an event class: derive it from BaseEvent")


def check_event(event: object) -> None:
    """Refuse what is not an event, or not wholly made.

    Raises:
        EventError: with the reason.
    """
    if not isinstance(event, BaseEvent):
        raise EventError(f"only events can be emitted, not {event!r}: derive its class from BaseEvent")
    if "_handled" not in vars(event):
        name = type(event).__name__
        raise EventError(f"{name}.__init__() did not call super().__init__(): have it do so")


def has_hooks(cls: type[BaseEvent]) -> bool:
    """Whether events of `cls` do something of their own before or after they are emitted."""
    return cls.pre_emit is not BaseEvent.pre_emit or cls.post_emit is not BaseEvent.post_emit


def _is_behaviour(value: object) -> bool:
    return callable(value) or isinstance(value, (property, classmethod, staticmethod))


class ListenerErrorEvent(BaseEvent):
    """A listener, filter or predicate raised, and the bus went on without it.

    The failure of a listener of this very event is only logged, so there is no recursion.

    Attributes:
        event: the event that was being emitted.
        listener: the function that failed, as it was given to `connect`.
        error: what it raised.
    """

    event: BaseEvent
    listener: object
    error: Exception


class EventsDroppedEvent(BaseEvent):
    """Events that were accepted will not be delivered.

    Attributes:
        queue: which queue lost them; a closed set of names, such as 'worker'.
        reason: why; a closed set of words, such as 'exit'.
        count: how many.
    """

    queue: str
    reason: str
    count: int
