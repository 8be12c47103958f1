"""Helpers for programs' tests."""

from __future__ import annotations

from typing import Self, TypeVar

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent
from encore_events.listeners import FIRST

__all__ = ["EventRecorder"]

E = TypeVar("E", bound=BaseEvent)


class EventRecorder:
    """Records the events of a class and its subclasses in `events` until `disconnect()`; a context manager.

    It records an event before any listener can veto it. The tracebacks of recorded errors, and with them the
    variables of their frames, are kept until `clear()`.

    >>> from encore_events import EventManager
    >>> manager = EventManager()
    >>> with EventRecorder(manager) as recorder:
    ...     manager.emit(BaseEvent(word="hello"))
    >>> recorder.one(BaseEvent).word
    'hello'
    """

    def __init__(self, manager: BaseEventManager, cls: type[BaseEvent] = BaseEvent) -> None:
        self.events: list[BaseEvent] = []
        self._subscription = manager.connect(cls, self._record, priority=FIRST, weak=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<EventRecorder: {len(self.events)} events>"

    def disconnect(self) -> None:
        """Stop recording; `events` stays."""
        self._subscription.disconnect()

    def of(self, cls: type[E]) -> list[E]:
        """Return the events of `cls` and its subclasses."""
        return [event for event in self.events if isinstance(event, cls)]

    def one(self, cls: type[E]) -> E:
        """Return the only event of `cls`. Raises AssertionError, with all recorded events, if there is not one."""
        found = self.of(cls)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events of {cls.__name__}, not one; recorded: {self.events}")
        return found[0]

    def names(self) -> list[str]:
        """Return the class names of the events, in order."""
        return [type(event).__name__ for event in self.events]

    def clear(self) -> None:
        """Forget the recorded events and go on recording."""
        self.events.clear()

    def _record(self, event: BaseEvent) -> None:
        self.events.append(event)
