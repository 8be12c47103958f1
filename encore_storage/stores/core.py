"""The core of a store: what a backend implements, and how what it does is observed."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import ClassVar, Self

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_storage.errors import InvalidKeyTypeError, KeyNotFoundError, StoreConnectionError, TransactionError
from encore_storage.events import Direction, Operation
from encore_storage.metadata import Metadata
from encore_storage.observing import Operation as ObservedOperation
from encore_storage.observing import StoreObserver
from encore_storage.stores.changing import ChangingOperation
from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.transactions.contexts import TransactionState
from encore_storage.transactions.writing import Change, Write, Writing
from encore_storage.value import Entry


class StoreCore(ABC):
    """A store as its backend sees it; `AbstractStore` adds what its users call.

    A backend implements `_lookup`, `_open`, `_put`, `_remove` and `_keys`, and knows nothing of events.

    Args:
        name: what events, logs and metrics call it; by default, its backend.
        event_manager: where it emits; by default, `get_event_manager()`.
        timeout: how many seconds a thread waits for another thread's transaction; None for as long as it takes.
    """

    backend: ClassVar[str] = "store"
    """What kind of store it is, in one word."""

    transactional: ClassVar[bool] = False
    """Whether it has `_begin_transaction`, `_commit_transaction` and `_rollback_transaction`."""

    def __init__(
        self,
        *,
        name: str | None = None,
        event_manager: BaseEventManager | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make the store; see the class."""
        self._observer = StoreObserver(
            name or self.backend, backend=self.backend, event_manager=event_manager, source=self, nested=False
        )
        self.timeout = timeout
        self._transaction_state = TransactionState(self)
        self._turn = self._transaction_state.turn
        self._connected = True

    def __repr__(self) -> str:
        """Its name, and whether it is connected."""
        return f"<{type(self).__name__} {self.name!r}: {'connected' if self._connected else 'disconnected'}>"

    @property
    def name(self) -> str:
        """The name of the store in events, logs and metrics."""
        return self._observer.name

    @property
    def event_manager(self) -> BaseEventManager:
        """The event manager on which the store emits."""
        return self._observer.event_manager

    @abstractmethod
    def _lookup(self, key: str) -> Entry:
        """What is known of the value. Raises KeyNotFoundError."""

    @abstractmethod
    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        """The bytes `[start, end)` of just the value that `entry` is of, in chunks, opened now.

        An iterator that holds a resource has a `close()`. Raises ConflictError, here or while it is iterated,
        if those bytes are no longer to be had.
        """

    @abstractmethod
    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        """Store bytes and metadata under the key, both or neither.

        Without chunks the bytes stay, without metadata that stays; under a new key they are empty. If `chunks`
        raises, everything stays as it was.
        """

    @abstractmethod
    def _remove(self, key: str) -> Metadata:
        """Delete the value, and give the metadata that it had. Raises KeyNotFoundError."""

    @abstractmethod
    def _keys(self) -> Iterator[str]:
        """All keys, as of the call or later."""

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        """All keys with their metadata."""
        for key in self._keys():
            with contextlib.suppress(KeyNotFoundError):  # deleted since
                yield key, self._lookup(key).metadata

    def _check_key(self, key: str) -> None:  # noqa: B027 (a hook: few stores need it)
        """Refuse what can't be a key here. Raises InvalidKeyError."""

    def _writing(self) -> AbstractContextManager[Write]:
        """Return a block in which nobody else writes; it waits for the transaction of another thread.

        It gives what is written, to which the backend may say what it is about to change: `write.expect(...)`. So the
        change is emitted also where an interrupt arrives behind the step that made it.
        """
        return Writing(self, self._turn)

    def _begin_writing(self, write: Write) -> None:  # noqa: B027 (a hook: few stores need it)
        """Take up what a write needs, as a lock of other processes; `write.part_of` says what it is part of."""

    def _end_writing(self, write: Write, *, keep: bool) -> None:  # noqa: B027 (a hook: few stores need it)
        """Keep what was written, or undo it as far as that can be done."""

    def _has_kept(self, write: Write) -> bool:  # noqa: ARG002 (a hook: few stores need it)
        """Return whether what was written is kept, after an interrupt of `_end_writing`."""
        return False

    def _release_writing(self, write: Write) -> None:  # noqa: B027 (a hook: few stores need it)
        """Give up what an outermost write has taken up; may be done twice, and in another thread."""

    def _connect(self) -> None:  # noqa: B027 (a hook: few stores need it)
        """Take up what the store needs."""

    def _disconnect(self) -> None:  # noqa: B027 (a hook: few stores need it)
        """Give up what the store holds."""

    def connect(self) -> None:
        """Make the store usable again after `disconnect()`; otherwise do nothing."""
        with self._turn.taken():
            if not self._connected:
                self._connect()
                self._connected = True

    def disconnect(self) -> None:
        """Release what the store holds; calls raise StoreConnectionError until it is connected again.

        Raises:
            TransactionError: inside a transaction of the caller.
        """
        if self._transaction_state.mine is not None:
            raise TransactionError(f"store {self.name!r} cannot be disconnected inside its own transaction")
        with self._turn.taken():
            if self._connected:
                self._connected = False
                self._disconnect()

    def is_connected(self) -> bool:
        """Whether the store can be used."""
        return self._connected

    def __enter__(self) -> Self:
        """Connect."""
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def _found(self, key: str) -> Entry:
        self._check(key)
        return self._lookup(key)

    def _check(self, key: object) -> None:
        self._check_connected()
        if not isinstance(key, str):
            raise InvalidKeyTypeError(key, f"it is of type {type(key).__name__}, not a str")
        self._check_key(key)

    def _check_connected(self) -> None:
        if not self._connected:
            raise StoreConnectionError(f"store {self.name!r} is disconnected: call connect() first")

    def _operation(
        self,
        operation: Operation,
        key: str | None,
        *,
        direction: Direction | None = None,
        steps: int = -1,
        metadata: Metadata | None = None,
    ) -> ObservedOperation:
        """Return an operation that has not started; it counts as part of the caller's transaction."""
        # Mostly nobody has the turn; then nobody is in a transaction.
        transaction = self._transaction_state.joined if self._turn.queue else None
        return self._observer.make_operation(operation, key, direction, steps, None, metadata, transaction)

    def _changing(self, operation: ObservedOperation, key: str, *, is_delete: bool = False) -> ChangingOperation:
        """Return the block of an operation that changes a key."""
        forks.this_process()  # before anything is made that belongs to it
        return ChangingOperation(self, key, operation, is_delete=is_delete)

    def _fingerprint(self, key: str) -> Fingerprint | None:  # noqa: ARG002 (a hook: see fingerprints.py)
        """What changes with the bytes under the key, whoever changes them, or None. Raises KeyNotFoundError."""
        return None

    def _put_copy(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None],  # noqa: ARG002 (as above)
    ) -> Change:
        """Store as `_put` does, and keep with it what `fingerprint()` gives once the chunks have come, if anything."""
        return self._put(key, chunks, metadata)

    def _keep_fingerprint(  # noqa: B027 (as above)
        self, key: str, own: Fingerprint, fingerprint: Fingerprint | None
    ) -> None:
        """Keep a fingerprint with the value, if its own one is still `own`; of None, forget what is kept."""

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:  # noqa: ARG002 (as above)
        """What was kept with just the value that is there, or None. Raises KeyNotFoundError."""
        return None
