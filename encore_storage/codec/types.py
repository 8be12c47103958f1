"""The types of Encore's CloudEvents, and their event classes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from encore_events.events import BaseEvent, EventsDroppedEvent, ListenerErrorEvent
from encore_events.progress import ProgressEndEvent, ProgressStartEvent, ProgressStepEvent
from encore_storage.events import (
    StoreDeleteEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
    StoreUpdateEvent,
)

TYPES: Mapping[str, type[BaseEvent]] = MappingProxyType(
    {
        "encore.storage.operation.started": StoreProgressStartEvent,
        "encore.storage.operation.progress": StoreProgressStepEvent,
        "encore.storage.operation.ended": StoreProgressEndEvent,
        "encore.storage.transaction.started": StoreTransactionStartEvent,
        "encore.storage.transaction.ended": StoreTransactionEndEvent,
        "encore.storage.key.set": StoreSetEvent,
        "encore.storage.key.updated": StoreUpdateEvent,
        "encore.storage.key.deleted": StoreDeleteEvent,
        "encore.events.progress.started": ProgressStartEvent,
        "encore.events.progress.progress": ProgressStepEvent,
        "encore.events.progress.ended": ProgressEndEvent,
        "encore.events.listener.failed": ListenerErrorEvent,
        "encore.events.dropped": EventsDroppedEvent,
    }
)
"""The classes of Encore's own events, by type."""

BUILT_IN: frozenset[type] = frozenset(base for cls in TYPES.values() for base in cls.__mro__[:-1])
"""These classes and all their base classes."""

FOREIGN = "python."  # the prefix of the types of a program's own events
