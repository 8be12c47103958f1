"""What every event manager can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from encore_events.buffer import Policy
from encore_events.delivery import has_begun, skip
from encore_events.events import BaseEvent, check_event_class
from encore_events.hold import Hold
from encore_events.listeners import Filter, Where
from encore_events.stream import EventStream
from encore_events.subscription import Subscription
from encore_events.worker import EmitHandle

__all__ = ["BaseEventManager"]

E = TypeVar("E", bound=BaseEvent)
F = TypeVar("F", bound=Callable[..., object])


class BaseEventManager(ABC):
    """What every event manager can do; `EventManager` is the one that Encore brings."""

    @abstractmethod
    def connect(
        self,
        cls: type[E],
        func: Callable[[E], object],
        filter: Filter | None = None,  # noqa: A002 (the name is part of the API)
        priority: float = 0,
        *,
        where: Where | None = None,
        weak: bool | None = None,
    ) -> Subscription:
        """Have `func` called with every event of `cls`, subclasses included."""

    @abstractmethod
    def disconnect(self, cls: type[BaseEvent], func: Callable[..., object]) -> None:
        """Have `func` called no longer. Raises KeyError if it isn't connected."""

    @abstractmethod
    def emit(self, event: BaseEvent, block: bool = True) -> EmitHandle | None:  # noqa: FBT001, FBT002 (the API)
        """Call the listeners of the event."""

    def deliver(self, event: BaseEvent) -> None:
        """Emit an event that says how something ended: an interrupt is raised behind the last listener.

        Called again with the same event, it goes on where an interrupt broke it off, and calls no listener twice.
        """
        if not has_begun(event):
            skip(event)
            self.emit(event)

    @abstractmethod
    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Whether an event of `cls` is worth building."""

    @abstractmethod
    def hold(self, cls: type[BaseEvent], filter: Filter | None = None) -> Hold:  # noqa: A002 (the name in the API)
        """Queue the matching events of the calling thread or task for the length of a block."""

    @abstractmethod
    def enable(self, cls: type[BaseEvent]) -> None:
        """Undo any number of `disable(cls)`."""

    @abstractmethod
    def disable(self, cls: type[BaseEvent]) -> None:
        """Dispatch no events of `cls` and its subclasses."""

    @abstractmethod
    def is_enabled(self, cls: type[BaseEvent]) -> bool:
        """Whether events of `cls` are dispatched."""

    def on(
        self,
        cls: type[BaseEvent],
        filter: Filter | None = None,  # noqa: A002 (the name is part of the API)
        priority: float = 0,
        *,
        where: Where | None = None,
        weak: bool | None = None,
    ) -> Callable[[F], F]:
        """`connect`, as a decorator.

        Raises:
            EventError: `cls` is no event class; the decorator needs its parentheses and the class in them.
        """
        check_event_class(cls)

        def connect(func: F) -> F:
            self.connect(cls, func, filter, priority, where=where, weak=weak)
            return func

        return connect

    def stream(
        self,
        cls: type[E],
        filter: Filter | None = None,  # noqa: A002 (the name is part of the API)
        *,
        where: Where | None = None,
        capacity: int = 10_000,
        policy: Policy = "drop_oldest",
        name: str = "stream",
    ) -> EventStream[E]:
        """The events of `cls` from now on, subclasses included, to be iterated over: `for` or `async for`.

        Args:
            cls: the event class.
            filter: what attributes must be, by their dotted names, as in `connect`.
            where: a predicate of the event, as in `connect`.
            capacity: how many events may wait to be read.
            policy: what happens where more would have to wait: 'drop_oldest' and 'drop_newest' drop events and tell
                how many, 'block' has the emitter wait.
            name: how drops are counted: the `queue` of the EventsDroppedEvent, and the label of the metric.

        Raises:
            EventError: `cls` is no event class (a TypeError).
            InvalidListenerError: filter or where can't be used (a TypeError).
            StreamError: there is no such policy, or the capacity isn't a whole number of at least 1 (a ValueError).
            ManagerClosedError: the manager has been closed.
        """
        return EventStream(self, cls, filter, where=where, capacity=capacity, policy=policy, name=name)
