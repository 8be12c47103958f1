"""What the tests of a program need to assert on its events."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent
from encore_events.listeners import FIRST

__all__ = ["EventRecorder"]

E = TypeVar("E", bound=BaseEvent)


class EventRecorder:
    """Every event of a class and its subclasses, from now until `disconnect()`, in `events`.

    It sees an event before any listener can veto it.

    >>> from encore_events import EventManager
    >>> manager = EventManager()
    >>> with EventRecorder(manager) as recorder:
    ...     manager.emit(BaseEvent(word="hello"))
    >>> recorder.one(BaseEvent).word
    'hello'
    """

    def __init__(self, manager: BaseEventManager, cls: type[BaseEvent] = BaseEvent) -> None:
        """Begin to record the events of `cls` that `manager` emits."""
        self.events: list[BaseEvent] = []
        self._subscription = manager.connect(cls, self._record, priority=FIRST, weak=False)

    def __enter__(self) -> Self:
        """Give the recorder, which records since it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def __repr__(self) -> str:
        """How much was recorded."""
        return f"<EventRecorder: {len(self.events)} events>"

    def disconnect(self) -> None:
        """Record no more; what was recorded stays."""
        self._subscription.disconnect()

    def of(self, cls: type[E]) -> list[E]:
        """The events of `cls` and its subclasses."""
        return [event for event in self.events if isinstance(event, cls)]

    def one(self, cls: type[E]) -> E:
        """The only event of `cls`.

        Raises:
            AssertionError: there is none, or more than one; with all that was recorded.
        """
        found = self.of(cls)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events of {cls.__name__}, not one; recorded: {self.events}")
        return found[0]

    def names(self) -> list[str]:
        """The class names of the events, in order."""
        return [type(event).__name__ for event in self.events]

    def clear(self) -> None:
        """Forget what was recorded, and go on."""
        self.events.clear()

    def _record(self, event: BaseEvent) -> None:
        self.events.append(event)
