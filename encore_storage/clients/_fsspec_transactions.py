"""The transactions of fsspec's file systems: they defer the files that are written in them."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from encore_storage.clients._fsspec_methods import Change
from encore_storage.clients._fsspec_stores import Stores, stand_in_of, state_of
from encore_storage.clients.client import Options
from encore_storage.clients.nesting import inside
from encore_storage.clients.swapping import OWN, Swapper
from encore_storage.events import TransactionOutcome
from encore_storage.observing import ObservedTransaction, StoreObserver
from encore_storage.observing.operation import SilentOperation

_STATE = f"{OWN}transaction"

open_transactions: weakref.WeakSet[Transaction] = weakref.WeakSet()
"""The transactions in progress of all file systems: most programs have none."""


class Transaction:
    """An observed transaction of a file system, and the changes of keys in it.

    Attributes:
        observed: what emits its events.
        error: the error that made it fail, or its stand-in.
    """

    def __init__(self, observer: StoreObserver) -> None:
        self.observed = ObservedTransaction(observer)
        self.error: BaseException | None = None
        self._changes: list[tuple[StoreObserver, Change, bool]] = []
        open_transactions.add(self)
        self.observed.start()

    def add(self, observer: StoreObserver, change: Change, *, is_deferred: bool = False) -> None:
        """Keep a change until the end; a deferred one takes effect by the commit, the others have taken effect."""
        self._changes.append((observer, change, is_deferred))

    def end(self, outcome: TransactionOutcome, commit_duration: float | None) -> None:
        """Emit the end, and the changes that have taken effect.

        Args:
            outcome: how it has ended.
            commit_duration: the seconds that the commit took.
        """
        if outcome == "committed" and not self._changes:
            outcome = "closed"
        immediate = []
        for observer, (action, key), is_deferred in self._changes:
            if outcome == "committed" or is_deferred:
                observer.changed(action, key, transaction=self.observed)
            else:
                immediate.append((observer, action, key))
        open_transactions.discard(self)
        self.observed.end(outcome, self.error, commit_duration=commit_duration)
        for observer, action, key in immediate:
            observer.changed(action, key)
        self.error = None


def transaction_of(fs: object) -> Transaction | None:
    """Return the open transaction of a file system, or None."""
    transaction = state_of(fs).get("_transaction")
    if transaction is None:
        return None
    found: Transaction | None = state_of(transaction).get(_STATE)
    return found if found is not None and found.observed.is_open else None


def emit_change(fs: object, observer: StoreObserver, change: Change) -> None:
    """Emit the change of a key; inside a transaction of the file system, after its end."""
    transaction = transaction_of(fs)
    if transaction is None:
        observer.changed(*change)
    else:
        transaction.add(observer, change)


def observed_property(plain: Any, stores: Stores, swapper: Swapper, options: Options) -> Any:
    """Return the property `transaction` of a file system, which observes the transactions that it makes."""

    @functools.wraps(plain.fget)
    def transaction(fs: Any) -> Any:
        made = plain.fget(fs)
        if made is not None and _STATE not in state_of(made):
            swapper.swap(made, options)
            state_of(made)[f"{OWN}stores"] = stores
        if made is not None and state_of(fs).get("_intrans"):  # begun by start_transaction()
            _begin(made)
        return made

    return property(transaction, plain.fset, plain.fdel, plain.__doc__)


def wrap_transaction(cls: Any, options: Options) -> Mapping[str, Callable[..., Any]]:
    """Return the observed methods of a class of transactions."""

    @functools.wraps(cls.start)
    def start(self: Any) -> Any:
        result = cls.start(self)
        _begin(self)
        return result

    @functools.wraps(cls.__exit__)
    def leave(self: Any, kind: Any, error: Any, traceback: Any) -> Any:
        transaction = state_of(self).get(_STATE)
        if transaction is not None and error is not None:
            transaction.error = stand_in_of(error, options)
        return cls.__exit__(self, kind, error, traceback)

    @functools.wraps(cls.complete)
    def complete(self: Any, commit: Any = True) -> Any:  # noqa: FBT002 (of the protocol)
        state = state_of(self)
        transaction: Transaction | None = state.get(_STATE)
        if transaction is None:
            return cls.complete(self, commit)
        started = time.monotonic()
        try:
            with inside(
                SilentOperation("execute", None), self.fs
            ):  # what it writes was counted as the files were written
                result = cls.complete(self, commit)
        except BaseException as error:
            del state[_STATE]
            transaction.error = stand_in_of(error, options)
            transaction.end("commit_failed" if commit else "rollback_failed", None)
            raise
        del state[_STATE]
        if commit:
            transaction.end("committed", time.monotonic() - started)
        else:
            transaction.end("rolled_back", None)
        return result

    return {"start": start, "__exit__": leave, "complete": complete}


def _begin(made: Any) -> None:
    state = state_of(made)
    if _STATE not in state:
        stores: Stores = state[f"{OWN}stores"]
        state[_STATE] = Transaction(stores.observer(made.fs))
