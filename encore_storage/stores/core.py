"""The core of a store: the methods that a backend implements, and how its calls are observed."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_events.default import is_default
from encore_storage.errors import (
    InvalidKeyTypeError,
    KeyNotFoundError,
    StoreConnectionError,
    TransactionError,
    UnpicklableError,
)
from encore_storage.events import Direction, Operation
from encore_storage.metadata import Metadata
from encore_storage.observing import Operation as ObservedOperation
from encore_storage.observing import StoreObserver
from encore_storage.stores.changing import ChangingOperation
from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.transactions.contexts import TransactionState
from encore_storage.transactions.writing import Change, Write, Writing
from encore_storage.value import Entry, ListedKey

_ADVICE = "make a store where it is used, such as in the other process"


class StoreCore(ABC):
    """A store as its backend sees it; `AbstractStore` adds the methods for users.

    A backend implements `_lookup`, `_open`, `_put`, `_remove` and `_keys`, and knows nothing of events.
    """

    backend: ClassVar[str] = "store"
    """The kind of the store, in one word."""

    transactional: ClassVar[bool] = False
    """True if the store has `_begin_transaction`, `_commit_transaction` and `_rollback_transaction`."""

    def __init__(
        self, *, name: str | None = None, event_manager: BaseEventManager | None = None, timeout: float | None = None
    ) -> None:
        self._observer = StoreObserver(
            name or self.backend, backend=self.backend, event_manager=event_manager, source=self, nested=False
        )
        self.timeout = checked_timeout(timeout)
        self._transaction_state = TransactionState(self)
        self._turn = self._transaction_state.turn
        self._connected = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {'connected' if self._connected else 'disconnected'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the class and the arguments of the constructor. Raises UnpicklableError where these don't suffice."""
        arguments = self._arguments()
        if arguments is None:
            raise UnpicklableError(repr(self), f"another {type(self).__name__} would not have its values; {_ADVICE}")
        if not is_default(self.event_manager):
            raise UnpicklableError(repr(self), f"it emits on an event manager that is not the default; {_ADVICE}")
        return _made, (type(self), {"name": self.name, "timeout": self.timeout, **arguments})

    def _arguments(self) -> dict[str, Any] | None:
        """Return the backend's arguments with which another store has the same values; None if there are none."""
        return None

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
        """Return the entry of the value. Raises KeyNotFoundError."""

    @abstractmethod
    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        """Open the bytes `[start, end)` of exactly the value of `entry` now, and return them in chunks.

        An iterator that holds a resource has a `close()`. Raises ConflictError, here or during the iteration, if these
        bytes are gone.
        """

    @abstractmethod
    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        """Store bytes and metadata under the key, both or neither.

        Without chunks the bytes stay, without metadata the metadata stays; under a new key they are empty. If `chunks`
        raises, everything stays as it was.
        """

    @abstractmethod
    def _remove(self, key: str) -> Metadata:
        """Delete the value, and return its metadata. Raises KeyNotFoundError."""

    @abstractmethod
    def _keys(self) -> Iterator[str]:
        """Return all keys, as of the call or later."""

    def _items(self) -> Iterator[tuple[str, Metadata]]:
        """Yield each key once, as of the first, with its metadata when it is reached."""
        for key in dict.fromkeys(self._keys()):
            with contextlib.suppress(KeyNotFoundError):  # deleted since
                yield key, self._entry(key).metadata

    def _listing(self, prefix: str) -> Iterator[ListedKey]:
        """Yield each key that begins with `prefix` once, as of the first, with its size and times when reached."""
        for key in [key for key in dict.fromkeys(self._keys()) if key.startswith(prefix)]:
            with contextlib.suppress(KeyNotFoundError):  # deleted since
                entry = self._entry(key)
                yield ListedKey(key, entry.size, entry.created, entry.modified)

    def _check_key(self, key: str) -> None:  # noqa: B027 (a hook: few stores need it)
        """Raise InvalidKeyError for keys that this store cannot hold."""

    def _writing(self) -> AbstractContextManager[Write]:
        """Return a block in which nobody else writes; it waits for the transaction of another thread.

        It returns a `Write`. A backend may call `write.expect(...)` before it makes the change. Then the change is
        emitted even if an interrupt arrives right after the step that made it.
        """
        return Writing(self, self._turn)

    def _begin_writing(self, write: Write) -> None:  # noqa: B027 (a hook: few stores need it)
        """Acquire what a write needs, such as a lock between processes; `write.part_of` is the lease that it joined."""

    def _end_writing(self, write: Write, *, keep: bool) -> None:  # noqa: B027 (a hook: few stores need it)
        """Keep what was written, or undo it as far as possible."""

    def _has_kept(self, write: Write) -> bool:  # noqa: ARG002 (a hook: few stores need it)
        """Return whether the data was kept, after an interrupt of `_end_writing`."""
        return False

    def _release_writing(self, write: Write) -> None:  # noqa: B027 (a hook: few stores need it)
        """Release what an outermost write has acquired; may be called twice, and in another thread."""

    def _connect(self) -> None:  # noqa: B027 (a hook: few stores need it)
        """Acquire what the store needs."""

    def _disconnect(self) -> None:  # noqa: B027 (a hook: few stores need it)
        """Release what the store holds."""

    def connect(self) -> None:
        """Make the store usable again after `disconnect()`; otherwise do nothing."""
        with self._turn.taken():
            if not self._connected:
                self._connect()
                self._connected = True

    def disconnect(self) -> None:
        """Release what the store holds. Until it is connected again, calls raise StoreConnectionError.

        Raises:
            TransactionError: the caller is in a transaction of the store.
        """
        if self._transaction_state.mine is not None:
            raise TransactionError(f"cannot disconnect store {self.name!r} inside its transaction: leave that first")
        with self._turn.taken():
            if self._connected:
                self._connected = False
                self._disconnect()

    def is_connected(self) -> bool:
        """Return whether the store can be used."""
        return self._connected

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def _found(self, key: str) -> Entry:
        self._check(key)
        return self._entry(key)

    def _entry(self, key: str) -> Entry:
        entry: object = self._lookup(key)
        if not isinstance(entry, Entry):
            raise TypeError(f"_lookup of {type(self).__name__} must return an Entry, not {entry!r}")
        return entry

    def _check(self, key: object) -> None:
        if not self._connected:
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
        # An empty queue, the common case, means that nobody is in a transaction.
        transaction = self._transaction_state.joined if self._turn.queue else None
        return self._observer.make_operation(operation, key, direction, steps, None, metadata, transaction)

    def _changing(self, operation: ObservedOperation, key: str, *, is_delete: bool = False) -> ChangingOperation:
        forks.this_process()  # before anything is made that belongs to it
        return ChangingOperation(self, key, operation, is_delete=is_delete)

    def _fingerprint(self, key: str) -> Fingerprint | None:  # noqa: ARG002 (a hook: see fingerprints.py)
        """Return something that changes whenever the bytes under the key change, or None. Raises KeyNotFoundError."""
        return None

    def _put_copy(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None],  # noqa: ARG002 (as above)
    ) -> Change:
        """Store as `_put` does, and keep with the value what `fingerprint()` returns after the last chunk."""
        return self._put(key, chunks, metadata)

    def _keep_fingerprint(  # noqa: B027 (as above)
        self, key: str, own: Fingerprint, fingerprint: Fingerprint | None
    ) -> None:
        """Keep a fingerprint with the value if its own is still `own`; for None, delete the kept one."""

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:  # noqa: ARG002 (as above)
        """Return the fingerprint kept with exactly this value, or None. Raises KeyNotFoundError."""
        return None


def _made(cls: Callable[..., StoreCore], arguments: dict[str, Any]) -> StoreCore:
    return cls(**arguments)


def checked_timeout(timeout: float | None) -> float | None:
    """Return the timeout of a store.

    Raises:
        TypeError: it is neither a number nor None.
        ValueError: it is negative or NaN.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:  # also true for NaN
        raise ValueError(f"timeout must be at least 0 seconds, not {timeout!r}")
    return timeout
