"""The base of all subscribers: how they are connected, held and disconnected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent
from encore_events.listeners import FIRST
from encore_storage.subscribers.errors import AlreadyConnectedError

Listeners = Mapping[type[BaseEvent], Callable[[Any], object]]


class Subscriber:
    """Listens to one event manager at a time, which holds it until `disconnect()`; a context manager.

    Its listeners are called before any listener that could veto an event.
    """

    def __init__(self) -> None:
        """Make a subscriber that is not connected."""
        self._event_manager: BaseEventManager | None = None
        self._connection = ExitStack()

    def __repr__(self) -> str:
        """Return the class and the event manager."""
        manager = self._event_manager
        return f"<{type(self).__name__}: {'not connected' if manager is None else f'listens to {manager!r}'}>"

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        """Acquire what the subscriber needs while it is connected; `connection` releases it."""

    def _listeners(self) -> Listeners:
        """Return the listeners, by the event classes that they listen to; called after `_prepare`."""
        return {}

    def connect(self, event_manager: BaseEventManager) -> Self:
        """Listen to the events of `event_manager` from now on; return the subscriber itself.

        Raises:
            AlreadyConnectedError: the subscriber listens to another event manager (a RuntimeError).
            ManagerClosedError: the event manager has been closed.
        """
        if self._event_manager is event_manager:
            return self
        if self._event_manager is not None:
            raise AlreadyConnectedError(self, self._event_manager)
        with ExitStack() as connection:
            self._prepare(event_manager, connection)
            for cls, func in self._listeners().items():
                connection.enter_context(event_manager.connect(cls, func, priority=FIRST, weak=False))
            self._connection = connection.pop_all()
        self._event_manager = event_manager
        return self

    def disconnect(self) -> None:
        """Stop listening; doing so twice does nothing."""
        self._event_manager = None
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the subscriber, which was connected before or will be in the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()
