"""The interface of event managers."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar

from encore_events.buffer import Policy
from encore_events.conditions import Filter, Where
from encore_events.delivery import has_begun, skip
from encore_events.events import BaseEvent, check_event_class
from encore_events.hold import Hold
from encore_events.stream import EventStream
from encore_events.subscription import Subscription
from encore_events.worker import EmitHandle

__all__ = ["BaseEventManager"]

E = TypeVar("E", bound=BaseEvent)
F = TypeVar("F", bound=Callable[..., object])


class BaseEventManager(ABC):
    """The base class of event managers. `EventManager` is the implementation."""

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
        """Call `func` with every event of `cls` and its subclasses."""

    @abstractmethod
    def disconnect(self, cls: type[BaseEvent], func: Callable[..., object]) -> None:
        """Stop calling `func`. Raises KeyError if it isn't connected."""

    @abstractmethod
    def emit(self, event: BaseEvent, block: bool = True) -> EmitHandle | None:  # noqa: FBT001, FBT002 (the API)
        """Call the listeners of the event."""

    def deliver(self, event: BaseEvent) -> None:
        """Emit `event` to all of its listeners, and raise an interrupt only after the last of them.

        Calling it again with the same event resumes after the last listener that was called.
        """
        if not has_begun(event):
            skip(event)
            self.emit(event)

    @abstractmethod
    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        """Return whether it is worth building an event of `cls`."""

    @abstractmethod
    def hold(self, cls: type[BaseEvent], filter: Filter | None = None) -> Hold:  # noqa: A002 (the name in the API)
        """Return a context manager that queues the matching events of the calling thread or task."""

    @abstractmethod
    def enable(self, cls: type[BaseEvent]) -> None:
        """Undo any number of `disable(cls)`."""

    @abstractmethod
    def disable(self, cls: type[BaseEvent]) -> None:
        """Dispatch no events of `cls` and its subclasses."""

    @abstractmethod
    def is_enabled(self, cls: type[BaseEvent]) -> bool:
        """Return whether events of `cls` are dispatched."""

    @property
    def reports_types_only(self) -> bool:
        """True if reports of errors in listeners have only the types of the errors."""
        return False

    @contextlib.contextmanager
    def reporting_types_only(self) -> Iterator[None]:
        """Report no text of errors within the block, which may quote what the program hides. Blocks may overlap."""
        yield

    def connect_unheard(self, cls: type[E], func: Callable[[E], object]) -> Callable[[], object]:  # noqa: ARG002
        """Call `func` with those events of `cls` that are not dispatched, because their class is disabled.

        For what counts things in progress: an end that no listener is called with is still an end.

        Returns:
            A function that ends this.
        """
        return lambda: None

    def on(
        self,
        cls: type[BaseEvent],
        filter: Filter | None = None,  # noqa: A002 (the name is part of the API)
        priority: float = 0,
        *,
        where: Where | None = None,
        weak: bool | None = None,
    ) -> Callable[[F], F]:
        """Return a decorator that connects a function. Raises EventError where the parentheses are missing."""
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
        """Return an iterator (`for` or `async for`) over the events of `cls` and its subclasses from now on.

        Args:
            cls: the event class.
            filter: required attribute values by dotted name, as in `connect`.
            where: a predicate of the event, as in `connect`.
            capacity: the number of events that may wait to be read.
            policy: what to do when more events come: 'drop_oldest' and 'drop_newest' drop and count them, 'block' makes
                the emitter wait.
            name: the `queue` of the stream's EventsDroppedEvents, and its label in the metrics.

        Raises:
            StreamError: unknown policy, or a capacity that is no whole number of at least 1 (a ValueError).
            EventError, InvalidListenerError, ManagerClosedError: as in `connect`.
        """
        return EventStream(self, cls, filter, where=where, capacity=capacity, policy=policy, name=name)
