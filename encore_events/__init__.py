"""The event bus: events, the manager that dispatches them, and progress events."""

from typing import TYPE_CHECKING

from encore_events.lazy import lazy_names

if TYPE_CHECKING:
    from encore_events.abstract import BaseEventManager
    from encore_events.default import get_event_manager, set_event_manager
    from encore_events.errors import (
        DefaultManagerError,
        EncoreError,
        EventError,
        ForkedError,
        InvalidListenerError,
        ManagerClosedError,
        NoRunningLoopError,
        NotConnectedError,
        ProgressError,
        SignalError,
        StreamError,
    )
    from encore_events.events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent
    from encore_events.hold import Hold
    from encore_events.listeners import FIRST
    from encore_events.manager import EventManager
    from encore_events.progress import (
        ProgressEndEvent,
        ProgressEvent,
        ProgressManager,
        ProgressStartEvent,
        ProgressStepEvent,
    )
    from encore_events.signals import EventSignal
    from encore_events.stream import EventStream
    from encore_events.subscription import EventInfo, Subscription
    from encore_events.worker import EmitHandle
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "abstract": ("BaseEventManager",),
            "default": (
                "get_event_manager",
                "set_event_manager",
            ),
            "errors": (
                "DefaultManagerError",
                "EncoreError",
                "EventError",
                "ForkedError",
                "InvalidListenerError",
                "ManagerClosedError",
                "NoRunningLoopError",
                "NotConnectedError",
                "ProgressError",
                "SignalError",
                "StreamError",
            ),
            "events": (
                "BaseEvent",
                "EventsDroppedEvent",
                "ListenerErrorEvent",
            ),
            "hold": ("Hold",),
            "listeners": ("FIRST",),
            "manager": ("EventManager",),
            "progress": (
                "ProgressEndEvent",
                "ProgressEvent",
                "ProgressManager",
                "ProgressStartEvent",
                "ProgressStepEvent",
            ),
            "signals": ("EventSignal",),
            "stream": ("EventStream",),
            "subscription": (
                "EventInfo",
                "Subscription",
            ),
            "worker": ("EmitHandle",),
        },
    )

__all__ = [
    "FIRST",
    "BaseEvent",
    "BaseEventManager",
    "DefaultManagerError",
    "EmitHandle",
    "EncoreError",
    "EventError",
    "EventInfo",
    "EventManager",
    "EventSignal",
    "EventStream",
    "EventsDroppedEvent",
    "ForkedError",
    "Hold",
    "InvalidListenerError",
    "ListenerErrorEvent",
    "ManagerClosedError",
    "NoRunningLoopError",
    "NotConnectedError",
    "ProgressEndEvent",
    "ProgressError",
    "ProgressEvent",
    "ProgressManager",
    "ProgressStartEvent",
    "ProgressStepEvent",
    "SignalError",
    "StreamError",
    "Subscription",
    "get_event_manager",
    "set_event_manager",
]
