"""Transactions as an observer emits them. They take no locks; `encore_storage.transactions` has those that do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, get_args

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.delivery import has_reached_any
from encore_events.ids import new_id
from encore_storage.errors import ForkedStoreError, TransactionError, abandoned_error
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from encore_storage.observing.observer import StoreObserver


_OUTCOMES: tuple[TransactionOutcome, ...] = get_args(TransactionOutcome)


class AnyTransaction(Protocol):
    """The attributes that an operation needs of its transaction."""

    transaction_id: str | None
    operations: int


def transaction_of(source: object) -> AnyTransaction | None:
    """Return the caller's transaction of `source`, a store; None for objects without transactions."""
    transaction: AnyTransaction | None = getattr(getattr(source, "_transaction_state", None), "joined", None)
    return transaction


class ObservedTransaction:
    """One transaction of an observer; made by `StoreObserver.transaction`.

    A `with` or `async with` block starts it, and ends it as committed, or as rolled back if the block raised.
    Operations and key changes of the observer inside the block are part of it. Without a block, call `start()` and
    `end(outcome, error)`, and pass it to `operation(transaction=...)` and `changed(transaction=...)`. A transaction
    that is collected before it has ended is emitted as rolled back.

    Attributes:
        notes: a description for people.
        parent_id: the id of the transaction that it is a savepoint of, or None.
        transaction_id: the id in all its events; None before the start.
        operations: the number of operations in it so far.
        outcome: the outcome; None before the end.
    """

    transaction_id: str | None = None
    operations = 0
    outcome: TransactionOutcome | None = None
    _process: forks.Process
    _outer: ObservedTransaction | None = None
    _changes: deque[StoreModificationEvent] | None = None
    _start: StoreTransactionEvent | None = None
    _end: StoreTransactionEvent | None = None
    _started_at: float

    def __init__(self, observer: StoreObserver, notes: str | None = None, parent_id: str | None = None) -> None:
        self.observer = observer
        self.notes = notes
        self.parent_id = parent_id
        self._source = observer.source

    def __repr__(self) -> str:
        return f"<ObservedTransaction of {self.observer.name!r}: {self.notes!r}, {self.outcome or 'open'}>"

    @property
    def is_open(self) -> bool:
        """True if it was started in this process and has not ended."""
        return self.transaction_id is not None and self.outcome is None and self._process is forks.current

    def start(self) -> None:
        """Emit that the transaction has begun. Raises TransactionError if it has started before."""
        if self.transaction_id is not None:
            raise TransactionError(f"cannot start {self!r} again: make another one")
        if self.__class__ is not OpenTransaction:
            self.__class__ = OpenTransaction
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
        """Emit that the transaction has ended, and its key changes if it was committed; further calls do nothing.

        Args:
            outcome: 'committed', 'rolled_back', 'closed' (nothing was written and nothing failed), 'commit_failed' or
                'rollback_failed'.
            error: the exception that made it fail, or None.
            commit_duration: the seconds that the commit took, or None.

        Raises:
            ForkedStoreError: it was started in the process that this one was forked from, and there is no error.
            TransactionError: it has not started.
            ValueError: the outcome is unknown.
        """
        if outcome not in _OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(map(repr, _OUTCOMES))}, not {outcome!r}")
        if self.transaction_id is None:
            raise TransactionError(f"cannot end {self!r}, which has not started: start it first")
        if self._process is not forks.current:
            self.__class__ = ObservedTransaction
            if error is None:
                raise ForkedStoreError(f"the transaction {self!r}", self._process.pid, "begin another in the child")
            return
        self.prepare_end(outcome, error, held=len(self._changes or ()), commit_duration=commit_duration)
        self.emit_end()
        while self._changes and self.outcome == "committed":
            self.observer.event_manager.deliver(self._changes[0])
            self._changes.popleft()
        self._end = None  # the frames of its error may refer to this transaction: break the cycle
        self.__class__ = ObservedTransaction

    def hold(self, change: StoreModificationEvent) -> None:
        """Keep a key change until commit; after the end, emit or discard it. Raises TransactionError if not started."""
        if self.transaction_id is None:
            raise TransactionError(f"cannot take part in {self!r}, which has not started: start it first")
        if self.outcome is None:
            changes = self._changes
            if changes is None:
                changes = self.__dict__.setdefault("_changes", deque())  # of the thread that comes first
            changes.append(change)
        elif self.outcome == "committed":
            self.observer.event_manager.deliver(change)

    def begin(self) -> None:
        """Set the id and the time, and make the start event if it has listeners, to be emitted later."""
        self._process = forks.this_process()
        self._started_at = time.monotonic()
        transaction_id = new_id()
        if self.observer.event_manager.has_listeners(StoreTransactionStartEvent):
            self._start = self._event(StoreTransactionStartEvent, transaction_id, timestamp=time.time())
        self.transaction_id = transaction_id  # last: from now on there is an end

    def emit_start(self) -> None:
        """Emit the start event that `begin` has made."""
        if self._start is not None:
            self.observer.event_manager.deliver(self._start)

    def prepare_end(
        self, outcome: TransactionOutcome, error: BaseException | None, *, held: int, commit_duration: float | None
    ) -> None:
        """Make the end event, once; a start event that an interrupt stopped goes to its remaining listeners first."""
        if self.outcome is not None:
            return
        manager, start = self.observer.event_manager, self._start
        is_started = start is None or start.__dict__.get("_encore_pending", start) is None
        if is_started or has_reached_any(cast("StoreTransactionEvent", start)):
            if not is_started:
                self.emit_start()
            # A start that a listener was called with is closed, even if the class is disabled now.
            if start is not None or manager.has_listeners(StoreTransactionEndEvent):
                self._end = self._event(
                    StoreTransactionEndEvent,
                    self.transaction_id,
                    state="done" if outcome in ("committed", "closed") else "failed",
                    outcome=outcome,
                    duration=time.monotonic() - self._started_at,
                    commit_duration=commit_duration,
                    operations=self.operations,
                    held=held,
                    error=error,
                )
        self.outcome = outcome

    def emit_end(self) -> None:
        """Emit the end event that `prepare_end` has made; after an interrupt, to the remaining listeners."""
        if self._end is not None:
            self.observer.event_manager.deliver(self._end)

    def __enter__(self) -> Self:
        """Start, and become the transaction of the observer's operations and key changes in the block."""
        self.start()
        self._outer = next((one for one in _entered() if one.is_open), None)  # one that was left elsewhere may stay
        _current.set(self)
        self.observer.transactions_entered = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End as committed, or as rolled back if the block raised."""
        if _current.get() is self:
            _current.set(self._outer)
        self.end("committed" if error is None else "rolled_back", error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _event(
        self,
        cls: type[StoreTransactionStartEvent | StoreTransactionEndEvent],
        transaction_id: str | None,
        **attributes: Any,
    ) -> StoreTransactionEvent:
        attributes["source"] = self._source
        attributes["store"] = self.observer.name
        attributes["transaction_id"] = transaction_id
        attributes["notes"] = self.notes
        if self.parent_id is not None:
            attributes["parent_id"] = self.parent_id
        return cls.made_of(attributes)


class OpenTransaction(ObservedTransaction):
    """A transaction in progress: it has a finalizer."""

    def __del__(self) -> None:
        """Have another thread end the transaction as rolled back."""
        if self.transaction_id is not None and self._process is forks.current:
            run_in_background(lambda: self.end("rolled_back", abandoned_error()))


_current: ContextVar[ObservedTransaction | None] = ContextVar("encore_storage_observed_transaction", default=None)


def current_transaction(observer: object) -> ObservedTransaction | None:
    """Return the innermost transaction of the observer whose block the caller is in."""
    return next((one for one in _entered() if one.observer is observer and one.is_open), None)


def _entered() -> Iterator[ObservedTransaction]:
    one = _current.get()
    while one is not None:
        yield one
        one = one._outer  # noqa: SLF001 (of its own class)
