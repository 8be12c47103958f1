"""What all subscribers have in common: how they are connected, held and disconnected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent
from encore_events.listeners import FIRST
from encore_storage.subscribers.errors import AlreadyConnectedError

Listeners = Mapping[type[BaseEvent], Callable[[Any], object]]


class Subscriber(ABC):
    """Listens to one event manager at a time, which holds it until `disconnect()`; a context manager.

    It hears an event before any listener that could veto it.
    """

    def __init__(self) -> None:
        """Make a subscriber that is not connected."""
        self._event_manager: BaseEventManager | None = None
        self._connection = ExitStack()

    def __repr__(self) -> str:
        """Whom it listens to."""
        manager = self._event_manager
        return f"<{type(self).__name__}: {'not connected' if manager is None else f'listens to {manager!r}'}>"

    @abstractmethod
    def _listen(self, event_manager: BaseEventManager) -> ExitStack:
        """Connect all listeners; closing what it gives disconnects them."""

    def connect(self, event_manager: BaseEventManager) -> Self:
        """Listen to the events of `event_manager` from now on; gives the subscriber itself.

        Raises:
            AlreadyConnectedError: it listens to another event manager (a RuntimeError).
            ManagerClosedError: the event manager has been closed.
        """
        if self._event_manager is event_manager:
            return self
        if self._event_manager is not None:
            raise AlreadyConnectedError(self, self._event_manager)
        self._connection = self._listen(event_manager)
        self._event_manager = event_manager
        return self

    def disconnect(self) -> None:
        """Listen no more; doing so twice does nothing."""
        self._event_manager = None
        self._connection.close()

    def __enter__(self) -> Self:
        """Give the subscriber, which was connected before or will be in the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()


def listen(event_manager: BaseEventManager, listeners: Listeners) -> ExitStack:
    """Connect each function to its class, all or none; closing what it gives disconnects them."""
    with ExitStack() as connections:
        for cls, func in listeners.items():
            connections.enter_context(event_manager.connect(cls, func, priority=FIRST, weak=False))
        return connections.pop_all()
