"""Transactions as they are observed: what is emitted of them. No lock is taken here; see `transactions` for those."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.delivery import has_reached_any
from encore_events.ids import new_id
from encore_storage.errors import ForkedStoreError, TransactionError, cut_off
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from encore_storage.observing.observer import StoreObserver


class AnyTransaction(Protocol):
    """What an operation needs of the transaction that it is part of."""

    transaction_id: str | None
    operations: int


def transaction_of(source: object) -> AnyTransaction | None:
    """Return the transaction of `source`, a store, that the caller is in; None for whatever has no transactions."""
    transaction: AnyTransaction | None = getattr(getattr(source, "_transaction_state", None), "joined", None)
    return transaction


class ObservedTransaction:
    """One transaction of an observer; made by `StoreObserver.transaction`.

    As a `with` or `async with` block it starts with the block, and ends as committed, or as rolled back where the
    block raised; operations and key changes of the observer inside the block are part of it. Code whose transactions
    are no blocks calls `start()` and `end(outcome, error)`, and passes the transaction to
    `operation(transaction=...)` and `changed(transaction=...)`. One that is collected before it has ended is rolled
    back, as far as events go.

    Attributes:
        notes: a description for people.
        transaction_id: the id in all its events; None before the start.
        operations: the number of operations that took part so far.
        outcome: the outcome; None before the end.
    """

    def __init__(self, observer: StoreObserver, notes: str | None = None) -> None:
        """Make a transaction that has not started."""
        self.observer = observer
        self.notes = notes
        self.transaction_id: str | None = None
        self.operations = 0
        self.outcome: TransactionOutcome | None = None
        self._source = observer.source
        self._process = forks.current
        self._outer: ObservedTransaction | None = None
        self._changes: list[StoreModificationEvent] = []
        self._start: StoreTransactionEvent | None = None
        self._end: StoreTransactionEvent | None = None
        self._started_at = 0.0

    def __repr__(self) -> str:
        """Return the observer's name, the notes and the outcome."""
        return f"<ObservedTransaction of {self.observer.name!r}: {self.notes!r}, {self.outcome or 'open'}>"

    @property
    def is_open(self) -> bool:
        """Whether it was started in this process and has not ended."""
        return self.transaction_id is not None and self.outcome is None and self._process is forks.current

    def start(self) -> None:
        """Emit that the transaction has begun.

        Raises:
            TransactionError: it has started before.
        """
        if self.transaction_id is not None:
            raise TransactionError(f"{self!r} has started before: make another one")
        self.__class__ = _OpenTransaction
        self.begin()
        try:
            self.emit_start()
        except BaseException as error:  # from a strict event manager, or an interrupt
            self.end("rolled_back", error)
            raise

    def end(
        self,
        outcome: TransactionOutcome = "committed",
        error: BaseException | None = None,
        *,
        commit_duration: float | None = None,
    ) -> None:
        """Emit that the transaction is over, and the key changes in it if it was committed; once.

        Args:
            outcome: what has become of it.
            error: the exception that made it fail, or None.
            commit_duration: the seconds that the commit took, or None.

        Raises:
            ForkedStoreError: it was started in the process that this one was forked from.
        """
        if self._process is not forks.current:
            self.__class__ = ObservedTransaction
            raise ForkedStoreError(f"the transaction {self!r}", self._process.pid, "begin another in the child")
        self.prepare_end(outcome, error, held=len(self._changes), commit_duration=commit_duration)
        self.emit_end()
        while self._changes and self.outcome == "committed":
            self.observer.event_manager.deliver(self._changes[0])
            self._changes.pop(0)
        self._end = None  # an error's frames may hold this transaction
        self.__class__ = ObservedTransaction

    def hold(self, change: StoreModificationEvent) -> None:
        """Keep a key change until the transaction is committed."""
        self._changes.append(change)

    def begin(self) -> None:
        """Take an id and the time, and make the start event, if it has listeners. For code that emits it later."""
        self.transaction_id = new_id()
        self._started_at = time.monotonic()
        if self.observer.event_manager.has_listeners(StoreTransactionStartEvent):
            self._start = self._event(StoreTransactionStartEvent, timestamp=time.time())

    def emit_start(self) -> None:
        """Emit the start event that `begin` has made."""
        if self._start is not None:
            self.observer.event_manager.deliver(self._start)

    def prepare_end(
        self, outcome: TransactionOutcome, error: BaseException | None, *, held: int, commit_duration: float | None
    ) -> None:
        """Make the end event, unless that was done; a start that an interrupt kept from somebody is emitted first."""
        if self.outcome is not None:
            return
        manager = self.observer.event_manager
        if self._start is None or has_reached_any(self._start):
            if self._start is not None:
                manager.deliver(self._start)  # to those whom an interrupt kept from it
            if manager.has_listeners(StoreTransactionEndEvent):
                self._end = self._event(
                    StoreTransactionEndEvent,
                    state="done" if outcome == "committed" else "failed",
                    outcome=outcome,
                    duration=time.monotonic() - self._started_at,
                    commit_duration=commit_duration,
                    operations=self.operations,
                    held=held,
                    error=error,
                )
        self.outcome = outcome

    def emit_end(self) -> None:
        """Emit the end event that `prepare_end` has made; called again after an interrupt, to those who missed it."""
        if self._end is not None:
            self.observer.event_manager.deliver(self._end)

    def __enter__(self) -> Self:
        """Start, and be the transaction of what the observer emits in the block."""
        self.start()
        self._outer = _current.get()
        _current.set(self)
        self.observer.transactions_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End as committed, or as rolled back because of the block's exception."""
        if _current.get() is self:
            _current.set(self._outer)
        self.end("committed" if error is None else "rolled_back", error)

    async def __aenter__(self) -> Self:
        """Start, as in a `with` statement."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, as in a `with` statement."""
        self.__exit__(kind, error, traceback)

    def _event(
        self, cls: type[StoreTransactionStartEvent | StoreTransactionEndEvent], **attributes: Any
    ) -> StoreTransactionEvent:
        identity = {"store": self.observer.name, "transaction_id": self.transaction_id, "notes": self.notes}
        return cls(self._source, **identity, **attributes)


class _OpenTransaction(ObservedTransaction):
    """A transaction that was started and not ended: it has a finalizer, as the last resort."""

    def __del__(self) -> None:
        """Have another thread emit that the transaction was rolled back."""
        if self._process is forks.current:
            run_in_background(lambda: self.end("rolled_back", cut_off()))


_current: ContextVar[ObservedTransaction | None] = ContextVar("encore_storage_observed_transaction", default=None)


def current_transaction(observer: object) -> ObservedTransaction | None:
    """Return the innermost transaction of the observer whose block the caller is in."""
    return next((one for one in _entered() if one.observer is observer and one.is_open), None)


def _entered() -> Iterator[ObservedTransaction]:
    one = _current.get()
    while one is not None:
        yield one
        one = one._outer  # noqa: SLF001 (of its own class)
