"""What stores tell: progress of operations, transactions, changed keys. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from encore_events.events import BaseEvent
from encore_events.progress import ProgressEndEvent, ProgressEvent, ProgressStartEvent, ProgressStepEvent
from encore_storage.metadata import GivenMetadata

Operation = Literal[
    "get", "get_range", "get_metadata", "exists", "query", "set", "set_metadata", "update_metadata", "delete"
]
Direction = Literal["read", "write"]
Outcome = Literal["ok", "miss", "error", "cancelled"]
TransactionOutcome = Literal["committed", "rolled_back", "commit_failed", "rollback_failed"]
Action = Literal["set", "update", "delete"]


class _NameOfSource:
    """What `store` is of an event that wasn't told it: the name of its source, if that has one."""

    def __get__(self, event: BaseEvent | None, owner: type[BaseEvent]) -> str | None:
        name = None if event is None else getattr(event.source, "name", None)
        return None if name is None else str(name)


class _Metadata:
    """The metadata of an event that shares it with the store: copied for those who read it, when the first does."""

    def __get__(self, event: BaseEvent | None, owner: type[BaseEvent]) -> Mapping[str, Any] | None:
        attributes = {} if event is None else event.__dict__
        if "_metadata" not in attributes:
            return None
        copied: Mapping[str, Any] | None = attributes.setdefault(
            "metadata", GivenMetadata(attributes["_metadata"]).copy
        )
        return copied


class StoreEvent(BaseEvent):
    """Something happened in a store.

    Attributes:
        source: the store itself.
        store: its name.
    """

    store: str | None = cast("str | None", _NameOfSource())


class StoreTransactionEvent(StoreEvent):
    """A transaction started or ended.

    Attributes:
        transaction_id: identifies the transaction, the same in all that is told of it.
    """

    transaction_id: str


class StoreTransactionStartEvent(StoreTransactionEvent):
    """A transaction has begun.

    Attributes:
        notes: what `transaction(notes)` was given.
        timestamp: when, in seconds since the epoch.
    """

    notes: str | None = None
    timestamp: float


class StoreTransactionEndEvent(StoreTransactionEvent):
    """A transaction is over; on 'committed', the modification events that were held follow.

    Attributes:
        notes: as at its start.
        state: 'done' where it was committed, else 'failed'.
        outcome: 'committed', 'rolled_back', 'commit_failed' or 'rollback_failed'.
        duration: seconds since its start, by a monotonic clock.
        commit_duration: seconds that the commit took; None where none was tried.
        operations: how many operations took part in it.
        held: how many modification events are released (committed) or were discarded (all else).
        error: what made it fail, or None.
    """

    notes: str | None = None
    state: Literal["done", "failed"]
    outcome: TransactionOutcome
    duration: float
    commit_duration: float | None = None
    operations: int
    held: int
    error: BaseException | None = None


class StoreKeyEvent(StoreEvent):
    """Something happened to one key.

    Attributes:
        key: which; None for an operation on no single key.
        metadata: the metadata of the key, where it is known.
        transaction_id: the transaction that it is part of, or None.
    """

    key: str | None = None
    metadata: Mapping[str, Any] | None = cast("Mapping[str, Any] | None", _Metadata())
    transaction_id: str | None = None


class StoreModificationEvent(StoreKeyEvent):
    """A value was stored, replaced or deleted; inside a transaction, told once it is committed.

    Attributes:
        action: 'set' (the key is new), 'update' or 'delete'.
        timestamp: when it was changed, in seconds since the epoch; None where that is not known.
    """

    action: Action
    timestamp: float | None = None


class StoreSetEvent(StoreModificationEvent):
    """A value was stored under a new key."""

    action: Action = "set"


class StoreUpdateEvent(StoreModificationEvent):
    """The value or the metadata of a key was replaced."""

    action: Action = "update"


class StoreDeleteEvent(StoreModificationEvent):
    """A key was deleted."""

    action: Action = "delete"


class StoreProgressEvent(ProgressEvent, StoreKeyEvent):
    """Something happened in an operation; all of these are the same in all events of one operation.

    Attributes:
        operation_id: identifies the operation.
        operation: its name, of a closed set; None where whoever tells it is no store.
        direction: 'read', 'write', or None where no bytes move.
        steps: how many bytes are expected as far as is known by now, -1 for unknown.
        parent_id: the id of the operation of another store that this one is part of, or None.
        timestamp: when the operation started, in seconds since the epoch.
    """

    operation_id: str
    operation: Operation | None = None
    direction: Direction | None = None
    steps: int = -1
    parent_id: str | None = None
    timestamp: float


class StoreProgressStartEvent(ProgressStartEvent, StoreProgressEvent):
    """An operation starts."""


class StoreProgressStepEvent(ProgressStepEvent, StoreProgressEvent):
    """An operation has moved bytes.

    Attributes:
        step: how many bytes it has moved in all.
        delta: how many since the step event before.
    """

    step: int
    delta: int


class StoreProgressEndEvent(ProgressEndEvent, StoreProgressEvent):
    """An operation is over.

    Attributes:
        outcome: 'ok', 'miss' (no such key), 'error' or 'cancelled'.
        bytes: how many bytes it moved in all, exactly.
        delta: how many of them no step event has told.
        duration: seconds since its start, by a monotonic clock.
        items: how many keys, rows or values it returned or changed; None where they were not counted.
        error: what it raised, or None.
        error_type: the word for that, of the closed set `encore_storage.errors.ERROR_TYPES`, or None.
    """

    outcome: Outcome
    bytes: int
    delta: int
    duration: float
    items: int | None = None
    error: BaseException | None = None
    error_type: str | None = None
