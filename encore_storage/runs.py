"""One run of a transaction: from its begin to its commit or rollback, and what is emitted of it.

Every step here may be broken off by an interrupt, and is made so that `finish` can be called again and goes on with
what is left. `Block.leave` does that once. Should it be broken off as well, or never be called, its block is collected,
and a thread of its own finishes the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, Protocol

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_events.default import get_event_manager
from encore_events.delivery import has_reached_any
from encore_events.gates import ThreadGate
from encore_events.hold import Hold
from encore_events.ids import new_id
from encore_storage.collected import is_elsewhere
from encore_storage.errors import ForkedStoreError, StoreError, TransactionAbortedError, TransactionError, is_interrupt
from encore_storage.events import (
    StoreModificationEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
    TransactionOutcome,
)
from encore_storage.turn import Lease, Turn, carried
from encore_storage.writing import undo_cut_off

_PATIENCE = 1.0
"""Seconds that whoever leaves a block in the wrong place waits for its end to be emitted."""


class Context(Protocol):
    """A transaction context, as a run sees it."""

    store: Any
    notes: str | None
    transaction_id: str | None
    outcome: TransactionOutcome | None
    operations: int
    depth: int

    def begin(self) -> None:
        """Begin a transaction."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Roll it back."""


WAITING, BEGINNING, OPEN, COMMITTING, ROLLING_BACK, DECIDED, OVER = range(7)
"""How far a run has come."""


class Run(Lease):
    """A transaction that is under way.

    Args:
        holder: the block that has to end it, not kept alive.
        context: the context that is entered.
        turn: whose turn it takes.

    Attributes:
        phase: how far it has come.
        doomed_by: what has failed in a block inside of it, so that it can't be committed.
        hold: the events of changes in it.
        over: opened when its end was emitted.
    """

    def __init__(self, holder: Block, context: Context, turn: Turn) -> None:
        """Make a run that waits for its turn."""
        super().__init__(holder)
        self.context = context
        self.phase = WAITING
        self.doomed_by: BaseException | None = None
        self.over = ThreadGate()
        self._turn = turn
        self._events = _manager_of(context.store)
        self.hold: Hold | None = None
        self._start: StoreTransactionEvent | None = None
        self._end: StoreTransactionEvent | None = None
        self._outcome: TransactionOutcome = "rolled_back"
        self._error: BaseException | None = None
        self._has_begun = False
        self._is_tried = False
        self._started_at = 0.0
        self._commit_started_at: float | None = None
        self._commit_duration: float | None = None

    def begin(self) -> None:
        """Wait for the turn, begin, and emit that."""
        context = self.context
        self._turn.take(self)
        self.phase = BEGINNING
        context.begin()
        self._has_begun = True
        context.transaction_id = new_id()
        context.operations = 0
        context.outcome = None
        context.depth = 1
        self._started_at = time.monotonic()
        self.hold = self._events.hold(StoreModificationEvent, {"source": context.store})
        self.hold.__enter__()
        if self._events.has_listeners(StoreTransactionStartEvent):
            self._start = self._event(StoreTransactionStartEvent, timestamp=time.time())
        self.is_open = True
        self.phase = OPEN
        if self.owner.task is not None:
            self.outer = _under_way(carried.get())
            carried.set(self)
        if self._start is not None:
            self._events.deliver(self._start)

    def break_off(self, error: BaseException) -> None:
        """Undo a begin that did not come to its end."""
        if self.phase in (WAITING, BEGINNING):
            if self.phase == BEGINNING and (self._has_begun or _is_in_transaction(self.context.store)):
                _roll_back(self.context, error)
            self._free()
            self.phase = OVER
        else:
            self.finish(error)

    def finish(self, error: BaseException | None) -> None:
        """Commit, or roll back because of `error`; free the store; and emit how it ended.

        Called again after an interrupt, which is then the `error`, it goes on with what is left.

        Raises:
            TransactionAbortedError: an inner block failed, so all was rolled back.
        """
        if self.phase == OPEN:
            self._decide(error)
        if self.phase == COMMITTING:
            self._commit(error)
        if self.phase == ROLLING_BACK:
            self._roll_back(error)
        if self.phase == DECIDED:
            self._free()
            self._emit_end()
            self.phase = OVER
            self.over.open()
            if error is None and self._error is not None:
                raise self._error

    def settle(self, turn: Turn) -> None:
        """Roll back what nobody is left to end. Runs in a thread of its own."""
        if self.phase == OVER or self.process is not forks.current:
            return
        error = self.doomed_by or TransactionError(
            f"the transaction with store {turn.store!r} was rolled back: its block was never left, since the thread, the "
            "task or the generator that was in it is gone, or an interrupt came"
        )
        try:
            self._break_off_in_attempts(error)
        finally:
            turn.free(self)  # whatever its backend and its listeners have raised

    def _break_off_in_attempts(self, error: BaseException, attempts: int = 3) -> None:
        try:
            self.break_off(error)
        except BaseException as failure:
            if attempts > 1:
                self._break_off_in_attempts(failure, attempts - 1)
            raise

    def _decide(self, error: BaseException | None) -> None:
        self.is_open = False
        undo_cut_off(self)
        is_whole = self.doomed_by is None and self.context.depth == 1
        if error is None and not is_whole:
            error = TransactionAbortedError(self._turn.store)
            error.__cause__ = self.doomed_by
        self._error = error
        self.phase = COMMITTING if error is None else ROLLING_BACK

    def _commit(self, failure: BaseException | None) -> None:
        if not self._is_tried:
            self._is_tried = True
            self._commit_started_at = time.monotonic()
            self.context.commit()
            self._outcome = "committed"
        elif failure is None or (is_interrupt(failure) and _has_taken_effect(self.context.store)):
            self._outcome = "committed"
        if self._commit_started_at is not None:
            self._commit_duration = time.monotonic() - self._commit_started_at
        if self._outcome == "committed":
            self.phase = DECIDED
            return
        self._error, self._outcome, self._is_tried = failure, "commit_failed", False
        self.phase = ROLLING_BACK

    def _roll_back(self, interrupt: BaseException | None) -> None:
        cause = self._error
        if not self._is_tried:
            self._is_tried = True
            try:
                self.context.rollback()
            except Exception as failure:  # noqa: BLE001 (whatever it is, it is shown with the error that propagates)
                if is_interrupt(failure):
                    raise
                if cause is not None:
                    _append_to_chain(cause, failure)
                self._outcome = "rollback_failed"
        else:
            if interrupt is not None and cause is not None:
                _append_to_chain(interrupt, cause)
            self._outcome = "rollback_failed"
            _roll_back(self.context, None)
        self.phase = DECIDED

    def _free(self) -> None:
        """Let the next one have the turn: listeners run when the store is free again.

        What they are given is made before that, since another thread may be waiting to enter this very context; and
        what is discarded is discarded before that, so that nothing is which a listener of the end has done.
        """
        context, hold = self.context, self.hold
        if self.phase == DECIDED and self._end is None:
            self._make_end()
            context.outcome = self._outcome
            context.depth = 0
        if hold is not None and self._outcome != "committed":
            hold.discard()
        if self.owner.task is not None and carried.get() is self:
            carried.set(self.outer)
        self.is_open = False
        self._turn.free(self)

    def _make_end(self) -> None:
        if self._start is not None:
            if not has_reached_any(self._start):
                return
            self._events.deliver(self._start)  # to those whom an interrupt kept from it
        if not self._events.has_listeners(StoreTransactionEndEvent):
            return
        self._end = self._event(
            StoreTransactionEndEvent,
            state="done" if self._outcome == "committed" else "failed",
            outcome=self._outcome,
            duration=time.monotonic() - self._started_at,
            commit_duration=self._commit_duration,
            operations=self.context.operations,
            held=0 if self.hold is None else len(self.hold),
            error=self._error,
        )

    def _emit_end(self) -> None:
        try:
            if self._end is not None:
                self._events.deliver(self._end)
        finally:
            if self.hold is not None and self._outcome == "committed":
                self.hold.deliver()

    def _event(
        self, cls: type[StoreTransactionStartEvent | StoreTransactionEndEvent], **attributes: Any
    ) -> StoreTransactionEvent:
        context = self.context
        identity = {"store": self._turn.store, "transaction_id": context.transaction_id, "notes": context.notes}
        return cls(context.store, **identity, **attributes)


class Block:
    """One `with` block of a transaction, which begins it or joins the one that is under way.

    Args:
        context: the context to begin.
        turn: that of its store.
    """

    __slots__ = ("__weakref__", "_context", "_is_left", "_is_outermost", "_run", "_turn")

    def __init__(self, context: Context, turn: Turn) -> None:
        """Make a block that is not entered yet."""
        self._context = context
        self._turn = turn
        self._run: Run | None = None
        self._is_outermost = False
        self._is_left = False

    def enter(self) -> Context:
        """Begin or join, and return the active context."""
        self.__class__ = OpenBlock
        mine = self._turn.mine
        if isinstance(mine, Run):
            self._run = mine
            mine.context.depth += 1
            return mine.context
        if mine is not None:
            raise TransactionError(
                f"no transaction can begin while a value for store {self._turn.store!r} is being written: "
                "begin it around that"
            )
        self._is_outermost = True
        self._run = run = Run(self, self._context, self._turn)
        run.begin()
        return self._context

    def break_off(self, error: BaseException) -> None:
        """Undo an `enter` that raised."""
        run = self._run
        if run is None or self._is_left:
            return
        if not self._is_outermost:
            self._leave_inner(run, error)
        elif run.process is forks.current:
            run.break_off(error)
        self._is_left = True

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; the outermost ends the run.

        Raises:
            ForkedStoreError: it was entered in the process that this one was forked from.
            TransactionAbortedError: an inner block failed, so all was rolled back.
            TransactionError: it was entered in another thread or task, so all was rolled back; or its transaction is over.
        """
        run = self._run
        if run is None or self._is_left:
            raise TransactionError(f"a transaction of store {self._turn.store!r} was left that was never entered")
        if run.process is not forks.current:
            self._leave_in_child(run, error)
        elif not run.is_mine:
            self._leave_elsewhere(run, error)
        elif not self._is_outermost:
            self._leave_inner(run, error)
        else:
            self._end(run, error)

    def _end(self, run: Run, error: BaseException | None, attempts: int = 3) -> None:
        """Finish the run, and where that is broken off, go on with what is left: a commit, a rollback, their events."""
        try:
            run.finish(error)
            self._is_left = True
        except BaseException as failure:
            if attempts > 1:
                self._end(run, failure, attempts - 1)
            raise

    def _leave_inner(self, run: Run, error: BaseException | None) -> None:
        if error is not None and run.doomed_by is None:
            run.doomed_by = error
        self._is_left = True
        if run.is_open:
            run.context.depth -= 1
        elif error is None:
            raise TransactionError(
                f"the transaction with store {self._turn.store!r} that this block has joined is over: leave it before that"
            )

    def _leave_elsewhere(self, run: Run, error: BaseException | None) -> None:
        """Roll back in the thread that ends what was abandoned: the owner may be at work with it at this moment."""
        mistake = TransactionError(
            f"the transaction with store {self._turn.store!r} was rolled back: it was entered in another thread or task "
            "than it was left in, where nothing can be part of it; enter and leave it in the same"
        )
        self._is_left = True
        if run.doomed_by is None:
            run.doomed_by = mistake
        if self._is_outermost and run.phase != OVER:
            run.is_open = False
            if is_elsewhere():
                run.settle(self._turn)
            else:
                self._turn.settle(run)
                run.over.wait(_PATIENCE)
        if error is None:
            raise mistake

    def _leave_in_child(self, run: Run, error: BaseException | None) -> None:
        self._is_left = True
        if self._is_outermost:
            self._turn.leave_inherited(run)
        if error is None:
            raise ForkedStoreError(
                f"the transaction with store {self._turn.store!r}", run.process.pid, "begin one of its own in the child"
            )


class OpenBlock(Block):
    """A block that was not left: the last resort of one that an interrupt has cut off.

    An interrupt that arrives in a finalizer is lost. So only what was not left has one: what was becomes its base class.
    """

    __slots__ = ()

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; see the base class."""
        try:
            super().leave(error)
        finally:
            if self._is_left:
                self.__class__ = Block  # type: ignore[assignment]  # the same object, without a finalizer

    def __del__(self) -> None:
        """Have the run ended by another thread, where the block was never left."""
        run = self._run
        if run is None or self._is_left or run.process is not forks.current:
            return
        if self._is_outermost:
            self._turn.settle(run)
        elif run.doomed_by is None:
            run.doomed_by = TransactionError("a block inside it was never left")


def name_of(store: Any) -> str:
    """Return the name of any store, or of its class."""
    return str(getattr(store, "name", None) or type(store).__name__)


def _under_way(lease: Lease | None) -> Lease | None:
    """Return the lease, or the nearest outside of it that is not over."""
    while isinstance(lease, Run) and lease.phase == OVER:
        lease = lease.outer
    return lease


def _manager_of(store: Any) -> BaseEventManager:
    manager: BaseEventManager | None = getattr(store, "event_manager", None)
    return get_event_manager() if manager is None else manager


def _is_in_transaction(store: Any) -> bool | None:
    """Return what the store says of its backend, or None where it can't say."""
    in_transaction = getattr(store, "_in_transaction", None)
    try:
        return None if in_transaction is None else bool(in_transaction())
    except StoreError:  # its backend is not to be had
        return None


def _has_taken_effect(store: Any) -> bool:
    return _is_in_transaction(store) is False


def _roll_back(context: Context, error: BaseException | None) -> None:
    try:
        context.rollback()
    except Exception as failure:  # noqa: BLE001 (it is shown with the error that propagates)
        if error is not None:
            _append_to_chain(error, failure)


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
    """Yield the error, and the earlier ones that a traceback shows with it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__
