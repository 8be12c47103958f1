"""The blocks of cells that metrics are counted in: one for all that an event changes.

Each function returns the key of a block. Its first item has the rule of each cell (see `merging` of
`encore_storage.processes`), its second is the kind of the block. The others are labels and the positions of buckets. A
label that an event doesn't have is empty. `Series` makes the metrics of the catalogue from the blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from encore_storage.processes.cells import Key

OPERATION = "operation"
MEASURED = "measured"
MOVED = "moved"
IN_PROGRESS = "in_progress"
TRANSACTION = "transaction"
TRANSACTION_IN_PROGRESS = "transaction_in_progress"
KEY_CHANGE = "key_change"
STORE = "store"
LISTENER_ERROR = "listener_error"
DROPPED = "dropped"
OVERFLOW = "overflow"
LIMIT = "limit"
EXEMPLAR = "exemplar"
ITEMS = "items"
FETCHED = "fetched"

_STORE = {2: "store"}
OPEN: Mapping[str, Mapping[int, str]] = {
    **dict.fromkeys((OPERATION, MEASURED, MOVED, IN_PROGRESS, EXEMPLAR, KEY_CHANGE), _STORE),
    **dict.fromkeys((TRANSACTION, TRANSACTION_IN_PROGRESS), _STORE),
    STORE: {2: "store", 3: "backend"},
    LISTENER_ERROR: {2: "event", 3: "listener"},
    DROPPED: {2: "queue", 3: "reason"},
}
"""By the kind of a block: its labels with open values, by their positions in the key."""

_ID = struct.Struct("13d")

EXEMPLAR_CELLS = 2 + _ID.size // 8

LONGEST_ID = 100  # OpenMetrics allows an exemplar 128 characters, names included


def operation(store: str, name: str, direction: str, outcome: str, duration: int, size: int, error_type: str) -> Key:
    """Return the key of ends: number, seconds, bytes since the last step, time of the last, bytes of whole values.

    Args:
        store: the label of the store.
        name: the operation.
        direction: 'read', 'write' or ''.
        outcome: the outcome.
        duration: the position of the bucket of the duration.
        size: the position of the bucket of the value's size, or -1 if the value wasn't moved whole.
        error_type: the type of the error, or ''.
    """
    return "+++>+", OPERATION, store, name, direction, outcome, str(duration), str(size), error_type


def measured(ended: Key, has_items: bool, first_byte: int | None, has_fetched: bool) -> Key:  # noqa: FBT001 (a key)
    """Return the key of ends with measures; after the cells of `ended`: retries, items, seconds, bytes fetched.

    Args:
        ended: the key of the same ends without measures.
        has_items: whether the client counts items.
        first_byte: the position of the bucket of the time to the first byte, or None if the client doesn't measure it.
        has_fetched: whether the client counts the bytes that it fetches.
    """
    return (
        ended[0] + "++++",
        MEASURED,
        *ended[2:],
        ITEMS if has_items else "",
        "" if first_byte is None else str(first_byte),
        FETCHED if has_fetched else "",
    )


def moved(store: str, name: str, direction: str) -> Key:
    """Return the key of the bytes that steps report."""
    return "+", MOVED, store, name, direction


def in_progress(store: str, name: str, direction: str, counter: int) -> Key:
    """Return the key of operations in progress: their number, and the start of the oldest."""
    return "~<", IN_PROGRESS, store, name, direction, str(counter)


def transaction(store: str, outcome: str, duration: int, operations: int) -> Key:
    """Return the key of ended transactions, by the positions of their buckets: number, seconds, operations."""
    return "+++", TRANSACTION, store, outcome, str(duration), str(operations)


def transaction_in_progress(store: str, counter: int) -> Key:
    """Return the key of transactions in progress: their number, and the start of the oldest."""
    return "~<", TRANSACTION_IN_PROGRESS, store, str(counter)


def key_change(store: str, action: str) -> Key:
    """Return the key of key changes."""
    return "+", KEY_CHANGE, store, action


def store(name: str, backend: str) -> Key:
    """Return the key of a store: 1."""
    return ">", STORE, name, backend


def listener_error(event: str, listener: str) -> Key:
    """Return the key of the errors of a listener."""
    return "+", LISTENER_ERROR, event, listener


def dropped(queue: str, reason: str) -> Key:
    """Return the key of dropped events."""
    return "+", DROPPED, queue, reason


def overflow(label: str) -> Key:
    """Return the key of the events beyond the cap of a label."""
    return "+", OVERFLOW, label


def limit(label: str) -> Key:
    """Return the key of the cap of a label, if it is higher than the default."""
    return ">", LIMIT, label


def exemplar(store: str, name: str, outcome: str, duration: int) -> Key:
    """Return the key of the latest exemplar of a bucket: its time, the duration, the operation's id."""
    return ">=" + "=" * (_ID.size // 8), EXEMPLAR, store, name, outcome, str(duration)


def cells_of_id(operation_id: bytes) -> Sequence[float]:
    """Return an id of at most `LONGEST_ID` bytes in UTF-8, which contains no NaN, as cells."""
    return _ID.unpack(operation_id.ljust(_ID.size, b"\0"))


def id_of_cells(cells: Sequence[float]) -> str:
    """Return the id that the cells contain."""
    return _ID.pack(*cells).rstrip(b"\0").decode(errors="replace")
