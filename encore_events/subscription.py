"""Objects that describe connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from encore_events.events import BaseEvent
from encore_events.listeners import Listener

__all__ = ["EventInfo", "Subscription"]


class Subscription:
    """One connection of a listener; a context manager that disconnects it.

    It does nothing once that connection was replaced or ended.
    """

    def __init__(self, record: Listener, end: Callable[[Listener], object] | None) -> None:
        """Make the subscription; `end` disconnects `record`, and is None if a tracer vetoed the connection."""
        self.cls = record.cls
        self._record = record
        self._end = end

    @property
    def listener(self) -> Callable[..., object] | None:
        """The connected function, or None once it was collected."""
        return self._record.func

    def disconnect(self) -> None:
        """End the connection."""
        if self._end is not None:
            self._end(self._record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<Subscription: {self.listener!r} to {self.cls.__name__}>"


@dataclass(frozen=True, slots=True)
class EventInfo:
    """A snapshot of an event manager's knowledge of one event class.

    Attributes:
        cls: the event class.
        listeners: the functions connected to this very class, in the order of their calls.
        enabled: whether events of this class are dispatched.
    """

    cls: type[BaseEvent]
    listeners: tuple[Callable[..., object], ...]
    enabled: bool
