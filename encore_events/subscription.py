"""What the event manager hands out about connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from encore_events.events import BaseEvent
from encore_events.listeners import Listener

__all__ = ["EventInfo", "Subscription"]


class Subscription:
    """One connection of a listener; ends with `disconnect()` or with the block that it is used in.

    It stands for that one connection: once it was replaced or ended, it does nothing.
    """

    def __init__(self, record: Listener, end: Callable[[Listener], object] | None) -> None:
        """Make the subscription; `end` takes the connection back, None where there never was one."""
        self.cls = record.cls
        self._record = record
        self._end = end

    @property
    def listener(self) -> Callable[..., object] | None:
        """The function as it was connected, or None once it was collected: it is not held here."""
        return self._record.func

    def disconnect(self) -> None:
        """End the connection, if it is still there."""
        if self._end is not None:
            self._end(self._record)

    def __enter__(self) -> Self:
        """Give the subscription itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def __repr__(self) -> str:
        """What is connected to what."""
        return f"<Subscription: {self.listener!r} to {self.cls.__name__}>"


@dataclass(frozen=True, slots=True)
class EventInfo:
    """What an event manager knows of one event class, at the moment of the call.

    Attributes:
        cls: the event class.
        listeners: the functions connected to just this class, in the order of their calls.
        enabled: whether events of this class are dispatched.
    """

    cls: type[BaseEvent]
    listeners: tuple[Callable[..., object], ...]
    enabled: bool
