"""The base of all subscribers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager
from encore_events.events import BaseEvent
from encore_events.listeners import FIRST
from encore_storage.subscribers.errors import AlreadyConnectedError

Listeners = Mapping[type[BaseEvent], Callable[[Any], object]]


def connect_listeners(
    event_manager: BaseEventManager, listeners: Listeners, unheard: Listeners, connection: ExitStack
) -> None:
    """Connect `listeners` until `connection` is closed, before all listeners that could veto an event.

    Those in `unheard` are called instead while the class of the event is disabled.
    """
    for cls, func in listeners.items():
        connection.enter_context(event_manager.connect(cls, func, priority=FIRST, weak=False))
    for cls, func in unheard.items():
        connection.callback(event_manager.connect_unheard(cls, func))


class Subscriber:
    """A set of listeners, connected to one event manager at a time.

    The event manager holds the subscriber until `disconnect()`. The context manager disconnects at its end.
    """

    def __init__(self) -> None:
        self._event_manager: BaseEventManager | None = None
        self._connection = ExitStack()

    def __repr__(self) -> str:
        manager = self._event_manager
        return f"<{type(self).__name__}: {'not connected' if manager is None else f'listens to {manager!r}'}>"

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        """Acquire what the subscriber needs while it is connected; `connection` releases it."""

    def _listeners(self) -> Listeners:
        """Return the listeners by event class. Called after `_prepare`."""
        return {}

    def _unheard_listeners(self) -> Listeners:
        """Return the listeners for events that are not dispatched, because their class is disabled."""
        return {}

    def connect(self, event_manager: BaseEventManager) -> Self:
        """Listen to the events of `event_manager` and return the subscriber.

        Raises:
            AlreadyConnectedError: the subscriber listens to another event manager (a RuntimeError).
            ManagerClosedError: the event manager has been closed.
            TypeError: it is no event manager.
        """
        checked_event_manager(event_manager)
        if self._event_manager is event_manager:
            return self
        if self._event_manager is not None:
            raise AlreadyConnectedError(self, self._event_manager)
        with ExitStack() as connection:
            self._prepare(event_manager, connection)
            connect_listeners(event_manager, self._listeners(), self._unheard_listeners(), connection)
            self._connection = connection.pop_all()
        self._event_manager = event_manager
        return self

    def disconnect(self) -> None:
        """Stop listening. Does nothing the second time."""
        self._event_manager = None
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()
