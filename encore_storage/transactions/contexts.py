"""Transaction contexts: changes that are kept as a whole or not at all, and emitted after the commit."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, Self, TypeVar, cast

from encore_events import forks
from encore_storage.errors import TransactionError
from encore_storage.events import TransactionOutcome
from encore_storage.observing.transaction import ObservedTransaction
from encore_storage.transactions.blocks import Block
from encore_storage.transactions.runs import Run, name_of
from encore_storage.transactions.turn import Turn

D = TypeVar("D")


class TransactionState:
    """The state of one store's transactions: `turn` is the turn to write to it."""

    def __init__(self, store: Any) -> None:
        self.turn = Turn(name_of(store), None, store)
        self._dummies: dict[type, Any] = {}

    @staticmethod
    def of(store: Any) -> TransactionState:
        """Return the state of the store, its attribute `_transaction_state`.

        A store sets it in its constructor; otherwise it is set here on first use. Raises TypeError if it cannot be.
        """
        state: TransactionState | None = getattr(store, "_transaction_state", None)
        return _state_factory.state_of(store) if state is None else state

    @property
    def joined(self) -> ObservedTransaction | None:
        """The observed transaction that the caller is in."""
        mine = self.turn.mine
        return mine.observed if isinstance(mine, Run) else None

    def dummy(self, context: D) -> D:
        """Return the store's one dummy context of the class of `context`, which is kept as that if there is none."""
        kept: D = self._dummies.setdefault(type(context), context)
        return kept

    @property
    def active(self) -> SimpleTransactionContext | None:
        """The context of the transaction in progress."""
        first = self.turn.first
        is_in_progress = isinstance(first, Run) and first.is_open and not first.is_abandoned
        return cast("SimpleTransactionContext", cast("Run", first).context) if is_in_progress else None

    @property
    def mine(self) -> SimpleTransactionContext | None:
        """The active context, if it belongs to the calling thread and task."""
        mine = self.turn.mine
        return cast("SimpleTransactionContext", mine.context) if isinstance(mine, Run) else None


class _StateFactory:
    """Makes the state of stores that don't make it in their constructor."""

    def __init__(self) -> None:
        self._renew()
        forks.renew_in_child(self, _StateFactory._renew)

    def state_of(self, store: Any) -> TransactionState:
        with self._lock:
            state: TransactionState | None = getattr(store, "_transaction_state", None)
            if state is None:
                state = TransactionState(store)
                try:
                    store._transaction_state = state  # noqa: SLF001 (a protocol of stores)
                except AttributeError:
                    raise TypeError(
                        f"cannot set _transaction_state of {store!r}: "
                        "set self._transaction_state = TransactionState(self) in its constructor"
                    ) from None
            return state

    def _renew(self) -> None:
        self._lock = threading.RLock()


_state_factory = _StateFactory()


class DummyTransactionContext:
    """The transaction context of a store without transactions: it does nothing and emits nothing.

    `DummyTransactionContext(store)` always returns the one context of the store.
    """

    store: Any

    def __new__(cls, store: Any) -> Self:
        """Return the store's context of this class, made on first use."""
        context = super().__new__(cls)
        context.store = store
        return TransactionState.of(store).dummy(context)

    def __repr__(self) -> str:
        return f"<DummyTransactionContext of {name_of(self.store)!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Do nothing: changes were kept when they were made."""


class TransactionBlocks(ABC):
    """The entered `with` blocks of one transaction context, the innermost last."""

    _blocks: list[Block]

    @property
    def innermost(self) -> list[Block]:
        """A list of the block to leave next, or an empty one."""
        return self._blocks[-1:]

    @property
    @abstractmethod
    def _context(self) -> SimpleTransactionContext:
        """The context."""

    def __enter__(self) -> SimpleTransactionContext:
        """Begin, or join the transaction of this thread and task, and return the active context.

        Raises:
            ForkedStoreError: the caller is in a transaction of the process that this one was forked from.
            TransactionError: a value for the store is being written.
            TransactionTimeoutError: another thread's transaction did not end within the store's `timeout`
                seconds, or another task of this thread is in one.
        """
        forks.this_process()  # before anything is made that belongs to it
        context = self._context
        block = Block(context, TransactionState.of(context.store).turn)
        try:
            active = block.enter()
            self._blocks.append(block)
        except BaseException as error:
            block.abort(error)
            raise
        return active  # type: ignore[return-value]  # a context of this very kind

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Leave the block; the outermost commits or rolls back, and emits the end.

        Raises:
            ForkedStoreError: it was entered in the process that this one was forked from.
            TransactionAbortedError: an inner block failed, so the transaction was rolled back.
            TransactionError: it was not entered, or in another thread or task, so the transaction was rolled back.
        """
        try:
            block = self._blocks.pop()
        except IndexError:
            raise TransactionError(f"cannot leave {self!r}, which was not entered: enter it first") from None
        try:
            block.leave(error)
        except BaseException as failure:
            block.abort(failure)  # does nothing if it was left
            raise


class TransactionEntry(TransactionBlocks):
    """The transaction that a store returns; `with` returns its active context, which is another object.

    An interrupt may arrive after the block and before the first line of `__exit__`, which then never runs. This object
    is then collected, unless the interrupt's traceback is kept, and its finalizer ends the block. So the context, which
    the block may keep, must not refer to this object.
    """

    def __init__(self, context: SimpleTransactionContext) -> None:
        self._blocks = []
        self._own_context = context

    def __repr__(self) -> str:
        return repr(self._context)

    @property
    def _context(self) -> SimpleTransactionContext:
        return self._own_context

    @property
    def store(self) -> Any:
        """The store."""
        return self._context.store

    @property
    def notes(self) -> str | None:
        """A description for people."""
        return self._context.notes

    @property
    def transaction_id(self) -> str | None:
        """The id of the transaction in events; None before it began."""
        return self._context.transaction_id

    @property
    def operations(self) -> int:
        """The number of operations in it so far."""
        return self._context.operations

    @property
    def outcome(self) -> TransactionOutcome | None:
        """The outcome; None before the end."""
        return self._context.outcome


class SimpleTransactionContext(TransactionBlocks):
    """A transaction of a store with begin, commit and rollback; `with` returns the active context.

    Blocks of the same thread and asyncio task inside it join it; only the outermost commits. Modification events of the
    store are held, and emitted after the commit or discarded.

    By default it calls the store's `_begin_transaction`, `_commit_transaction` and `_rollback_transaction`. Override
    `begin`, `commit` and `rollback` for anything else. A store may have `_in_transaction()`, which returns whether its
    backend is in a transaction. Then a commit that took effect before an interrupt is reported as committed.

    If the context is used in a `with` statement itself, an interrupted block ends only when the context is collected.
    Stores should return `entry()` instead, which nobody keeps.

    Args:
        store: the store; its `event_manager`, `name` and `timeout` are used if it has them.
        notes: a description for people, an attribute of the events.

    Attributes:
        observed: the transaction as it is emitted; None before it began.
        depth: the number of entered blocks.
    """

    def __init__(self, store: Any, notes: str | None = None) -> None:
        self._blocks = []
        self.store = store
        self.notes = notes
        self.observed: ObservedTransaction | None = None
        self.depth = 0

    def __repr__(self) -> str:
        return f"<SimpleTransactionContext of {name_of(self.store)!r}: depth {self.depth}>"

    @property
    def transaction_id(self) -> str | None:
        """The id of the transaction in events; None before it began."""
        return None if self.observed is None else self.observed.transaction_id

    @property
    def operations(self) -> int:
        """The number of operations in it so far."""
        return 0 if self.observed is None else self.observed.operations

    @property
    def outcome(self) -> TransactionOutcome | None:
        """The outcome, as in its end event; None before that."""
        return None if self.observed is None else self.observed.outcome

    @property
    def _context(self) -> SimpleTransactionContext:
        return self

    def begin(self) -> None:
        """Begin; by default, call the store's `_begin_transaction()`."""
        self.store._begin_transaction()  # noqa: SLF001 (the specification names it)

    def commit(self) -> None:
        """Commit; by default, call the store's `_commit_transaction()`."""
        self.store._commit_transaction()  # noqa: SLF001 (as above)

    def rollback(self) -> None:
        """Roll back; by default, call the store's `_rollback_transaction()`."""
        self.store._rollback_transaction()  # noqa: SLF001 (as above)

    def entry(self) -> TransactionEntry:
        """Return an object to use in a `with` statement instead of the context; see `TransactionEntry`."""
        return TransactionEntry(self)
