"""Transactions: what is kept as a whole or not at all, and told only once it is true."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
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
    """What one store knows of its transactions.

    Attributes:
        turn: whose turn it is to write.
    """

    def __init__(self, store: Any) -> None:
        """Make the state of a store with no transaction."""
        self.turn = Turn(name_of(store), None)
        self.turn.follow(store)
        self._dummies: dict[type, Any] = {}

    @staticmethod
    def of(store: Any) -> TransactionState:
        """Return the state of the store, which is its attribute `_transaction_state`.

        A store sets that in its constructor, or else it is set here on first use.

        Raises:
            TypeError: the attribute cannot be set.
        """
        state: TransactionState | None = getattr(store, "_transaction_state", None)
        return _making.state_of(store) if state is None else state

    @property
    def joined(self) -> ObservedTransaction | None:
        """The observed transaction that the caller is in."""
        mine = self.turn.mine
        return mine.observed if isinstance(mine, Run) else None

    def dummy(self, context: D) -> D:
        """Return the store's one dummy context of the class of `context`, which becomes that if there is none."""
        kept: D = self._dummies.setdefault(type(context), context)
        return kept

    @property
    def active(self) -> SimpleTransactionContext | None:
        """The context of the transaction that is under way."""
        first = self.turn.first
        is_under_way = isinstance(first, Run) and first.is_open and not first.is_abandoned
        return cast("SimpleTransactionContext", cast("Run", first).context) if is_under_way else None

    @property
    def mine(self) -> SimpleTransactionContext | None:
        """The active context, if it is the calling thread's and task's own."""
        mine = self.turn.mine
        return cast("SimpleTransactionContext", mine.context) if isinstance(mine, Run) else None


class _Making:
    """The making of the state of stores that don't make it in their constructor."""

    def __init__(self) -> None:
        self._renew()
        forks.renew_in_child(self, _Making._renew)

    def state_of(self, store: Any) -> TransactionState:
        with self._lock:
            state: TransactionState | None = getattr(store, "_transaction_state", None)
            if state is None:
                state = TransactionState(store)
                try:
                    store._transaction_state = state  # noqa: SLF001 (a protocol of stores)
                except AttributeError:
                    raise TypeError(
                        f"{store!r} has no place for its transactions: "
                        "set self._transaction_state = TransactionState(self) in its constructor"
                    ) from None
            return state

    def _renew(self) -> None:
        self._lock = threading.RLock()


_making = _Making()


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
        return TransactionState.of(store).dummy(context)

    def __repr__(self) -> str:
        """Whose it is."""
        return f"<DummyTransactionContext of {name_of(self.store)!r}>"

    def __enter__(self) -> Self:
        """Give the context."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: what was done stays done."""


class TransactionBlocks(ABC):
    """The `with` blocks of one transaction context that are entered, the innermost last."""

    def __init__(self) -> None:
        """Make an object that was not entered; entering it enters the context."""
        self._blocks: list[Block] = []

    @property
    def innermost(self) -> list[Block]:
        """The block that would be left next, if there is one."""
        return self._blocks[-1:]

    @property
    @abstractmethod
    def _context(self) -> SimpleTransactionContext:
        """The context."""

    def __enter__(self) -> SimpleTransactionContext:
        """Begin, or join the transaction that this thread and task is in, and return the active context.

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
            block.break_off(error)
            raise
        return active  # type: ignore[return-value]  # a context of this very kind

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the block; the outermost commits or rolls back, and emits which.

        Raises:
            TransactionAbortedError: an inner block failed, so all was rolled back.
            TransactionError: it was never entered; or entered in another thread or task, so all was rolled back.
        """
        try:
            block = self._blocks.pop()
        except IndexError:
            raise TransactionError(f"{self!r} was left but never entered") from None
        try:
            block.leave(error)
        except BaseException as failure:
            block.break_off(failure)  # nothing, where it was left
            raise


class TransactionEntry(TransactionBlocks):
    """A transaction that a store offers; `with` gives its active context, which is another object.

    An interrupt may come when the block is over and before the first line of `__exit__` runs. Then nobody calls that
    any more, but this object is collected, and so ends what was entered. (While somebody keeps the interrupt's
    traceback, it isn't.) That is why the context, which the block may keep, must not keep this object.
    """

    def __init__(self, context: SimpleTransactionContext) -> None:
        """Make an object that was not entered; entering it enters the context."""
        super().__init__()
        self._its_context = context

    def __repr__(self) -> str:
        """Return what the context says of itself."""
        return repr(self._context)

    @property
    def _context(self) -> SimpleTransactionContext:
        return self._its_context

    @property
    def store(self) -> Any:
        """The store."""
        return self._context.store

    @property
    def notes(self) -> str | None:
        """What the transaction is for."""
        return self._context.notes

    @property
    def transaction_id(self) -> str | None:
        """What identifies the transaction in events; None before it began."""
        return self._context.transaction_id

    @property
    def operations(self) -> int:
        """How many operations took part in it so far."""
        return self._context.operations

    @property
    def outcome(self) -> TransactionOutcome | None:
        """How it ended; None before that."""
        return self._context.outcome


class SimpleTransactionContext(TransactionBlocks):
    """A transaction of a store with begin, commit and rollback; `with` gives the active context.

    Blocks of the same thread and asyncio task that are entered inside it join it; only the outermost
    commits. Modification events of the store are held back meanwhile, and emitted after the commit or never.

    By default it calls the store's `_begin_transaction`, `_commit_transaction` and
    `_rollback_transaction`; override `begin`, `commit` and `rollback` for anything else. A store may offer
    `_in_transaction()`, which says if its backend is inside one: so an interrupt that arrives during
    a commit that took effect is reported as committed.

    Used in a `with` statement itself, it ends a block that an interrupt has cut off when nobody keeps it any more.
    Stores had better offer `entry()`, which nobody keeps.

    Args:
        store: the store; its `event_manager`, `name` and `timeout` are used if it has them.
        notes: what the transaction is for, as its events say.

    Attributes:
        observed: the transaction as it is emitted; None before it began.
        depth: the number of blocks that are entered.
    """

    def __init__(self, store: Any, notes: str | None = None) -> None:
        """Make a context that is not active yet."""
        super().__init__()
        self.store = store
        self.notes = notes
        self.observed: ObservedTransaction | None = None
        self.depth = 0

    def __repr__(self) -> str:
        """Return the store's name and the nesting depth."""
        return f"<SimpleTransactionContext of {name_of(self.store)!r}: depth {self.depth}>"

    @property
    def transaction_id(self) -> str | None:
        """The id of the transaction in events; None before it began."""
        return None if self.observed is None else self.observed.transaction_id

    @property
    def operations(self) -> int:
        """The number of operations that took part in it so far."""
        return 0 if self.observed is None else self.observed.operations

    @property
    def outcome(self) -> TransactionOutcome | None:
        """The outcome, as its end event has it; None before that."""
        return None if self.observed is None else self.observed.outcome

    @property
    def _context(self) -> SimpleTransactionContext:
        return self

    def begin(self) -> None:
        """Begin a transaction; by default, the store's `_begin_transaction()`."""
        self.store._begin_transaction()  # noqa: SLF001 (the specification names it)

    def commit(self) -> None:
        """Commit it; by default, the store's `_commit_transaction()`."""
        self.store._commit_transaction()  # noqa: SLF001 (as above)

    def rollback(self) -> None:
        """Roll it back; by default, the store's `_rollback_transaction()`."""
        self.store._rollback_transaction()  # noqa: SLF001 (as above)

    def entry(self) -> TransactionEntry:
        """Return what to give to a `with` statement in place of the context: see `TransactionEntry`."""
        return TransactionEntry(self)
