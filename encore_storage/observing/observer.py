"""The observer emits the operations, transactions and key changes of any code that moves bytes."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import (
    Action,
    Direction,
    StoreDeleteEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreUpdateEvent,
)
from encore_storage.metadata import Metadata
from encore_storage.observing.files import observed_class_of
from encore_storage.observing.operation import Operation, SilentOperation, enclosing_operation_id
from encore_storage.observing.outcomes import Misses, checked_misses
from encore_storage.observing.transaction import (
    AnyTransaction,
    ObservedTransaction,
    OpenTransaction,
    current_transaction,
)

_OpenOperation = cast("type[Operation]", Operation._open_class)  # noqa: SLF001 (of the same package)

_CHANGES: Mapping[str, type[StoreModificationEvent]] = {
    "set": StoreSetEvent,
    "update": StoreUpdateEvent,
    "delete": StoreDeleteEvent,
}


class StoreObserver:
    """Emits the operations, transactions and key changes of a store, or of any code that moves bytes.

    It takes no locks, and any number of its operations and transactions may be open at once, in threads and tasks.

    >>> from encore_events import EventManager
    >>> manager = EventManager()
    >>> _ = manager.connect(StoreProgressEndEvent, lambda event: print(event.store, event.operation, event.bytes))
    >>> observer = StoreObserver("invoices", backend="sftp", event_manager=manager)
    >>> with observer.operation("get", "march.pdf", direction="read") as operation:
    ...     operation.count(1000)
    invoices get 1000

    Args:
        name: the name of the store in events, logs and metrics, from a small set of names.
        backend: the kind of the store, in one word.
        event_manager: where to emit; by default, `get_event_manager()`.
        source: the `source` of the events, held weakly if possible; by default, the observer.
        misses: the exceptions that mean that a key is missing, for operations that don't write: a class, a tuple of
            classes, or a predicate.
        nested: whether operations look for a `parent_id`; see `Operation.enclosing`.

    Raises:
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        name: str,
        *,
        backend: str = "store",
        event_manager: BaseEventManager | None = None,
        source: object = None,
        misses: type[BaseException] | Misses = (KeyNotFoundError,),
        nested: bool = True,
    ) -> None:
        self.name = _checked("name", name)
        self.backend = _checked("backend", backend)
        self.event_manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
        self.misses = checked_misses(misses)
        self.transactions_entered = False
        self._nested = nested
        self._source = _reference_to(source)

    def __repr__(self) -> str:
        return f"<StoreObserver of {self.name!r}, {self.backend}>"

    @property
    def source(self) -> object:
        """The source of the events."""
        reference = self._source
        source = None if reference is None else reference()
        return self if source is None else source

    def operation(
        self,
        operation: str,
        key: str | None = None,
        *,
        direction: Direction | None = None,
        steps: int = -1,
        message: str | None = None,
        metadata: Metadata | None = None,
        transaction: AnyTransaction | None = None,
    ) -> Operation:
        """Return one operation, for a `with` or `async with` statement or for its `start()` and `end()`.

        Args:
            operation: the name of the operation, such as 'get' or 'set'; see `encore_storage.events.Operation`.
            key: the key; None for an operation on no single key.
            direction: 'read' or 'write', or None where no bytes move: metrics count no bytes without a direction.
            steps: the number of bytes expected, -1 for unknown. An attribute: set it when it becomes known.
            message: a description for people; by default, operation and key.
            metadata: the metadata of the key. It is copied when a listener reads it; don't change it before.
            transaction: the transaction that it is part of; by default, that of the block that the caller is in.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the direction is unknown.
        """
        _checked("operation", operation)
        if key is not None:
            _checked("key", key)
        if direction not in (None, "read", "write"):
            raise ValueError(f"direction must be 'read', 'write' or None, not {direction!r}")
        if type(steps) is not int:
            raise TypeError(f"steps must be an int, the number of bytes expected, not {steps!r}")
        if transaction is not None and not hasattr(transaction, "transaction_id"):
            raise TypeError(f"transaction must be a transaction of an observer, not {transaction!r}")
        return self.make_operation(operation, key, direction, steps, message, metadata, transaction)

    def make_operation(
        self,
        operation: str,
        key: str | None,
        direction: Direction | None,
        steps: int,
        message: str | None,
        metadata: Metadata | None,
        transaction: AnyTransaction | None,
    ) -> Operation:
        """Return one operation as `operation()` does, but with cheaper positional arguments."""
        if transaction is None and self.transactions_entered:
            transaction = current_transaction(self)
        if transaction is not None:
            transaction.operations += 1
        has_listeners = self.event_manager.has_listeners
        if not (
            has_listeners(StoreProgressEndEvent)
            or has_listeners(StoreProgressStartEvent)
            or has_listeners(StoreProgressStepEvent)
        ):
            return SilentOperation(operation, key)
        attributes: dict[str, Any] = {
            "store": self.name,
            "operation": operation,
            "direction": direction,
            "key": key,
            "transaction_id": None if transaction is None else transaction.transaction_id,
        }
        if metadata is not None:
            attributes["_encore_metadata"] = metadata
        if self._nested and (parent_id := enclosing_operation_id(self)) is not None:
            attributes["parent_id"] = parent_id
        return _OpenOperation(self, operation, key, message, steps, attributes)

    def transaction(self, notes: str | None = None, *, parent_id: str | None = None) -> ObservedTransaction:
        """Return one transaction, for a `with` or `async with` statement or for its `start()` and `end()`.

        Args:
            notes: a description for people.
            parent_id: the id of the transaction that it is a savepoint of, or None.
        """
        return OpenTransaction(self, notes, parent_id)  # which saves the exchange of its class when it starts

    def reading(
        self, key: str | None, stream: Any, *, operation: str | Operation = "get", steps: int = -1, **options: Any
    ) -> Any:
        """Return the stream, observed as it is read: a file or an iterable of bytes, sync or async.

        The operation ends when the stream is closed, is exhausted, fails, or is collected. A file that can seek is
        never exhausted: close it. The result has all attributes and methods of the stream.

        Args:
            key: the key.
            stream: a file to read from, sync or async, or an iterable or async iterable of bytes.
            operation: the name of the operation, or an operation that has started.
            steps: the number of bytes expected, -1 for unknown.
            options: further arguments of `operation()`.

        Raises:
            TypeError: the stream is neither a file nor an iterable of bytes.
        """
        return self._observed(stream, operation, key, "read", {"steps": steps, **options})

    def writing(
        self, key: str | None, stream: Any, *, operation: str | Operation = "set", steps: int = -1, **options: Any
    ) -> Any:
        """Return the file, sync or async, observed as it is written; the operation ends when it is closed.

        See `reading`. Bytes that are read from a file open for both are not counted.

        Raises:
            TypeError: the stream is not a file.
        """
        return self._observed(stream, operation, key, "write", {"steps": steps, **options})

    def changed(
        self,
        action: Action,
        key: str,
        metadata: Metadata | None = None,
        *,
        transaction: ObservedTransaction | None = None,
    ) -> None:
        """Emit that a key was changed; inside a transaction, after its commit.

        Args:
            action: 'set' (also if it is unknown whether the key is new), 'update' or 'delete'.
            key: the key.
            metadata: the metadata that it has now, or had when it was deleted. It is copied when a listener reads it;
                don't change it before.
            transaction: the transaction that it is part of; by default, that of the block that the caller is in.

        Raises:
            ValueError: the action is unknown.
            TypeError: the key is not a str.
            TransactionError: the transaction has not started.
        """
        if action not in _CHANGES:
            raise ValueError(f"action must be one of {', '.join(map(repr, _CHANGES))}, not {action!r}")
        _checked("key", key)
        if transaction is None and self.transactions_entered:
            transaction = current_transaction(self)
        transaction_id = None if transaction is None else transaction.transaction_id
        event = self.change_event(action, key, metadata, transaction_id)
        if event is None:
            return
        if transaction is None:
            self.event_manager.deliver(event)
        else:
            transaction.hold(event)

    def change_event(
        self, action: Action, key: str, metadata: Metadata | None, transaction_id: str | None
    ) -> StoreModificationEvent | None:
        """Return the event of a key changed now, to be emitted later; None if it has no listeners."""
        cls = _CHANGES[action]
        if not self.event_manager.has_listeners(cls):
            return None
        attributes = {"source": self.source, "store": self.name, "key": key, "transaction_id": transaction_id}
        return cls.made_of({**attributes, "_encore_metadata": metadata, "timestamp": time.time()})

    def _observed(
        self, stream: Any, operation: str | Operation, key: str | None, direction: Direction, options: dict[str, Any]
    ) -> Any:
        cls = observed_class_of(stream, direction)
        if not isinstance(operation, Operation):
            operation = self.operation(operation, key, direction=direction, **options)
            operation.start()
        return cls(stream, operation, direction)


def _checked(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {value!r}")
    return value


def _reference_to(source: object) -> Callable[[], object] | None:
    """Return a weak reference, so that a store and its observer are no cycle, or a strong one if that is impossible."""
    try:
        return None if source is None else weakref.ref(source)
    except TypeError:  # slots without __weakref__
        return lambda: source
