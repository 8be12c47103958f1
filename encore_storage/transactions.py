"""Transactions: what is kept as a whole or not at all, and told only once it is true."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from encore_events.abstract import BaseEventManager
from encore_events.default import get_event_manager
from encore_events.ids import new_id
from encore_storage.errors import TransactionAbortedError, TransactionError
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
    TransactionOutcome,
)
from encore_storage.turn import Turn


class TransactionState:
    """What one store knows of its transactions.

    Attributes:
        turn: whose turn it is to write.
        active: the context of the transaction that is under way, or None.
    """

    def __init__(self, store: Any) -> None:
        """Make the state of a store with no transaction."""
        self.turn = Turn(_name_of(store), getattr(store, "timeout", None))
        self.active: SimpleTransactionContext | None = None
        self._process = os.getpid()

    @classmethod
    def of(cls, store: Any) -> TransactionState:
        """The one state of the store, made on first use."""
        attributes = vars(store)
        state: TransactionState = attributes.get("_transaction_state") or attributes.setdefault(
            "_transaction_state", cls(store)
        )
        if state._process != os.getpid() and not state.turn.is_mine:
            # A forked child, where the thread whose turn it was does not exist.
            state = attributes["_transaction_state"] = cls(store)
        state.turn.timeout = getattr(store, "timeout", None)
        return state

    @classmethod
    def joined_by(cls, store: Any) -> SimpleTransactionContext | None:
        """The transaction of the store that the caller is in, which counts one more operation; if there is one."""
        state = getattr(store, "_transaction_state", None)
        transaction = state.mine if isinstance(state, cls) else None
        if transaction is not None:
            transaction.operations += 1
        return transaction

    @property
    def mine(self) -> SimpleTransactionContext | None:
        """The active context, if it is the calling thread's and task's own."""
        active = self.active
        return active if active is not None and self.turn.is_mine else None


class DummyTransactionContext:
    """The transaction of a store that has none: it keeps nothing together and tells nothing.

    There is one for each store: `DummyTransactionContext(store)` always gives the same.

    Args:
        store: the store that it belongs to.
    """

    store: Any

    def __new__(cls, store: Any) -> Self:
        """Give the store's own context of this class, made on first use."""
        context = super().__new__(cls)
        context.store = store
        kept: Self = vars(store).setdefault(f"_transaction_of_{cls.__qualname__}", context)
        return kept

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<DummyTransactionContext of {_name_of(self.store)!r}>"

    def __enter__(self) -> Self:
        """Give the context."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: what was done stays done."""


class SimpleTransactionContext:
    """A transaction of a store with begin, commit and rollback; `with` gives the active context.

    Blocks of the same thread and asyncio task that are entered inside it join it; only the outermost
    commits. Modification events of the store are held back meanwhile, and told after the commit or never.

    By default it calls the store's `_begin_transaction`, `_commit_transaction` and
    `_rollback_transaction`; override `begin`, `commit` and `rollback` for anything else. A store may offer
    `_in_transaction()`, which tells whether its backend is inside one: so an interrupt that arrives during
    a commit that took effect is told as committed.

    Args:
        store: the store; its `event_manager`, `name` and `timeout` are used if it has them.
        notes: what the transaction is for, told in its events.

    Attributes:
        transaction_id: identifies the transaction in events; None before it began.
        operations: how many operations took part in it so far.
        outcome: how it ended, as its end event tells; None before that.
    """

    def __init__(self, store: Any, notes: str | None = None) -> None:
        """Make a context that is not active yet."""
        self.store = store
        self.notes = notes
        self.transaction_id: str | None = None
        self.outcome: TransactionOutcome | None = None
        self.operations = 0
        self._depth = 0
        self._started_at = 0.0
        self._commit_duration: float | None = None
        self._doomed_by: BaseException | None = None

    def __repr__(self) -> str:
        """Whose it is, and how deep in it we are."""
        return f"<SimpleTransactionContext of {_name_of(self.store)!r}: depth {self._depth}>"

    def begin(self) -> None:
        """Begin a transaction; by default, the store's `_begin_transaction()`."""
        self.store._begin_transaction()  # noqa: SLF001 (the specification names it)

    def commit(self) -> None:
        """Commit it; by default, the store's `_commit_transaction()`."""
        self.store._commit_transaction()  # noqa: SLF001 (as above)

    def rollback(self) -> None:
        """Roll it back; by default, the store's `_rollback_transaction()`."""
        self.store._rollback_transaction()  # noqa: SLF001 (as above)

    def __enter__(self) -> SimpleTransactionContext:  # noqa: PYI034 (the active one, which may be another)
        """Begin, or join the transaction that this thread and task is in; give the active context.

        Raises:
            TransactionTimeoutError: another thread's transaction did not end within the store's `timeout`
                seconds, or another task of this thread is in one.
        """
        state = TransactionState.of(self.store)
        state.turn.enter()
        if state.active is not None:
            return state.active._join()  # noqa: SLF001 (one of us)
        try:
            self.begin()
        except BaseException:
            state.turn.leave()
            raise
        state.active = self
        self._begin_telling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the block; the outermost commits or rolls back, and tells which.

        Raises:
            TransactionAbortedError: an inner block failed, so all was rolled back.
        """
        active = TransactionState.of(self.store).mine
        if active is None:
            raise TransactionError(f"{self!r} was left but never entered")
        active._leave(error)  # noqa: SLF001 (one of us)

    def _join(self) -> SimpleTransactionContext:
        self._depth += 1
        return self

    def _begin_telling(self) -> None:
        self.transaction_id = new_id()
        self.operations = 0
        self.outcome = None
        self._depth = 1
        self._started_at = time.monotonic()
        self._commit_duration = None
        self._doomed_by = None
        self._events = _manager_of(self.store)
        self._held = self._events.hold(StoreModificationEvent, {"source": self.store}).__enter__()
        try:
            event = self._event(StoreTransactionStartEvent, timestamp=time.time())
            if event is not None:
                self._events.emit(event)
        except BaseException as error:  # of a strict event manager, or an interrupt
            self._leave(error)
            raise

    def _leave(self, error: BaseException | None) -> None:
        if self._depth > 1:
            self._depth -= 1
            if self._doomed_by is None:
                self._doomed_by = error
            TransactionState.of(self.store).turn.leave()
            return
        if error is not None:
            self._abort(error)
        elif self._doomed_by is not None:
            aborted = TransactionAbortedError(_name_of(self.store))
            aborted.__cause__ = self._doomed_by
            self._abort(aborted)
            raise aborted
        else:
            self._commit_or_roll_back()

    def _commit_or_roll_back(self) -> None:
        started = time.monotonic()
        try:
            self.commit()
        except BaseException as failure:
            self._commit_duration = time.monotonic() - started
            if isinstance(failure, Exception) or not self._took_effect():
                self._abort(failure, "commit_failed")
            else:
                self._end("committed", None)
            raise
        self._commit_duration = time.monotonic() - started
        self._end("committed", None)

    def _abort(self, error: BaseException, outcome: TransactionOutcome = "rolled_back") -> None:
        try:
            self.rollback()
        except Exception as failure:  # noqa: BLE001 (whatever it is, it is shown with the error that propagates)
            _append_to_chain(error, failure)
            self._end("rollback_failed", error)
        except BaseException as interrupt:
            _append_to_chain(interrupt, error)
            self._end("rollback_failed", error)
            raise
        else:
            self._end(outcome, error)

    def _took_effect(self) -> bool:
        in_transaction = getattr(self.store, "_in_transaction", None)
        return in_transaction is not None and not in_transaction()

    def _end(self, outcome: TransactionOutcome, error: BaseException | None) -> None:
        """Give the store back first: listeners run with no turn of ours held.

        What they are told is made before that, since another thread may be waiting to enter this very context; and
        what is discarded is discarded before that, so that nothing is which a listener of the end has done.
        """
        events, held = self._events, self._held
        self.outcome = outcome
        event = self._event(
            StoreTransactionEndEvent,
            state="done" if outcome == "committed" else "failed",
            outcome=outcome,
            duration=time.monotonic() - self._started_at,
            commit_duration=self._commit_duration,
            operations=self.operations,
            held=len(held),
            error=error,
        )
        if outcome != "committed":
            held.discard()
        state = TransactionState.of(self.store)
        self._depth = 0
        state.active = None
        state.turn.leave()
        try:
            if event is not None:
                events.emit(event)
        finally:
            held.release()  # nothing, where it was discarded

    def _event(
        self, cls: type[StoreTransactionStartEvent | StoreTransactionEndEvent], **attributes: Any
    ) -> StoreTransactionEvent | None:
        if not self._events.has_listeners(cls):
            return None
        name, identity = _name_of(self.store), self.transaction_id
        return cls(self.store, store=name, transaction_id=identity, notes=self.notes, **attributes)


def _name_of(store: Any) -> str:
    return str(getattr(store, "name", None) or type(store).__name__)


def _manager_of(store: Any) -> BaseEventManager:
    manager: BaseEventManager | None = getattr(store, "event_manager", None)
    return get_event_manager() if manager is None else manager


def _append_to_chain(error: BaseException, other: BaseException) -> None:
    """Have `other` shown with `error`, at the end of what is shown with `error` already."""
    shown = {id(one): one for one in _chain_of(error)}
    if id(other) in shown:
        return
    for one in itertools.takewhile(lambda one: id(one) not in shown, _chain_of(other)):
        if id(one.__context__) in shown:
            one.__context__ = None  # the error that was being handled: it is to come first, not last
    last = [*shown.values()][-1]
    last.__context__ = other
    last.__suppress_context__ = False


def _chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and the earlier ones that a traceback shows with it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__
