"""The events of stores: operations, transactions and key changes. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from encore_events.events import BaseEvent
from encore_events.progress import ProgressEndEvent, ProgressEvent, ProgressStartEvent, ProgressStepEvent
from encore_storage.metadata import GivenMetadata

Operation = Literal[
    "get",
    "get_range",
    "get_metadata",
    "exists",
    "query",
    "list",
    "set",
    "set_metadata",
    "update_metadata",
    "delete",
    "copy",
    "move",
    "execute",
]
Direction = Literal["read", "write"]
Outcome = Literal["ok", "miss", "error", "cancelled"]
TransactionOutcome = Literal["committed", "rolled_back", "closed", "commit_failed", "rollback_failed"]
Action = Literal["set", "update", "delete"]


class _SourceName:
    """The default of `store`: the name of the event's source, if it has one."""

    def __get__(self, event: BaseEvent | None, owner: type[BaseEvent]) -> str | None:
        name = None if event is None else getattr(event.source, "name", None)
        return None if name is None else str(name)


class _Metadata:
    """The `metadata` of an event that shares it with the store: copied when it is first read."""

    def __get__(self, event: BaseEvent | None, owner: type[BaseEvent]) -> Mapping[str, Any] | None:
        attributes = {} if event is None else event.__dict__
        if "_encore_metadata" not in attributes:
            return None
        copied: Mapping[str, Any] | None = attributes.setdefault(
            "metadata", GivenMetadata(attributes["_encore_metadata"]).copy
        )
        return copied


class StoreEvent(BaseEvent):
    """Something happened in a store.

    Attributes:
        source: the store itself.
        store: its name.
    """

    store: str | None = cast("str | None", _SourceName())

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a pickle, with the name of the store."""
        state = super().__getstate__()
        state.setdefault("store", self.store)
        return state


class StoreTransactionEvent(StoreEvent):
    """A transaction started or ended.

    Attributes:
        transaction_id: the id of the transaction, the same in all its events.
        parent_id: the id of the transaction that it is a savepoint of, or None.
    """

    transaction_id: str
    parent_id: str | None = None


class StoreTransactionStartEvent(StoreTransactionEvent):
    """A transaction has begun.

    Attributes:
        notes: the argument of `transaction(notes)`, a description for people.
        timestamp: the time of the start, in seconds since the epoch.
    """

    notes: str | None = None
    timestamp: float


class StoreTransactionEndEvent(StoreTransactionEvent):
    """A transaction has ended; after 'committed', the key changes that it held are emitted.

    Attributes:
        notes: as in the start event.
        state: 'done' if it was committed or closed, else 'failed'.
        outcome: 'committed', 'rolled_back', 'closed' (nothing was written and nothing failed), 'commit_failed' or
            'rollback_failed'.
        duration: seconds since its start, by a monotonic clock.
        commit_duration: seconds that the commit took; None if no commit was tried.
        operations: the number of operations in it.
        held: the number of key changes that are emitted (committed) or discarded (any other outcome).
        error: the exception that made it fail, or None.
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
        key: the key; None for an operation on no single key.
        metadata: the metadata of the key, if known.
        transaction_id: the id of the transaction that it is part of, or None.
    """

    key: str | None = None
    metadata: Mapping[str, Any] | None = cast("Mapping[str, Any] | None", _Metadata())
    transaction_id: str | None = None


class StoreModificationEvent(StoreKeyEvent):
    """A value was stored, replaced or deleted; in a transaction, emitted after the commit.

    Attributes:
        action: 'set' (the key is new), 'update' or 'delete'.
        timestamp: the time of the change, in seconds since the epoch; None if unknown.
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
    """Something happened in an operation. These attributes are the same in all its events.

    Attributes:
        operation_id: the id of the operation.
        operation: the name of the operation, of a closed set; None if no store emits it.
        direction: 'read', 'write', or None where no bytes move.
        steps: the number of bytes expected as far as known, -1 for unknown.
        parent_id: the id of the operation of another store that this one is part of, or None.
        timestamp: the time when the operation started, in seconds since the epoch.
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
        step: the number of bytes moved so far.
        delta: the number of bytes since the previous step event.
    """

    step: int
    delta: int


class StoreProgressEndEvent(ProgressEndEvent, StoreProgressEvent):
    """An operation has ended.

    Attributes:
        outcome: 'ok', 'miss' (no such key), 'error' or 'cancelled'.
        bytes: the exact number of bytes moved.
        delta: the number of bytes since the last step event.
        duration: seconds since its start, by a monotonic clock.
        items: the number of keys, rows or values returned or changed; None if not counted.
        attempts: the number of attempts, 1 if nothing was retried. Metrics count this and the other measures (items,
            first_byte, fetched) of events in which it was set; `StoreProgressManager` sets it with any of them.
        first_byte: seconds from the start to the first byte; None if not measured.
        fetched: the number of bytes fetched from the backend, also those that only the client's own cache received;
            None if not counted apart from `bytes`.
        error: the exception that it raised, or None.
        error_type: the error type, one of `encore_storage.errors.ERROR_TYPES`, or None.
    """

    outcome: Outcome
    bytes: int
    delta: int
    duration: float
    items: int | None = None
    attempts: int = 1
    first_byte: float | None = None
    fetched: int | None = None
    error: BaseException | None = None
    error_type: str | None = None
