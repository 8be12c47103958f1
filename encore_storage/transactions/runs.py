"""One run of a transaction: from its begin to its commit or rollback, with its events.

An interrupt may stop any step, so `finish` can be called again and resumes. `Block.leave` does that once. If that is
interrupted as well, or never called, the block is collected, and a background thread finishes the run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from encore_events import forks
from encore_events.gates import ThreadGate
from encore_events.hold import Hold
from encore_storage.errors import StoreError, TransactionAbortedError, TransactionError, is_interrupt
from encore_storage.events import StoreModificationEvent, TransactionOutcome
from encore_storage.observing.interrupts import append_to_chain, blocks_in, chain_of, retry
from encore_storage.observing.observer import StoreObserver
from encore_storage.observing.transaction import ObservedTransaction
from encore_storage.transactions.turn import Lease, Turn, carried
from encore_storage.transactions.writing import undo_interrupted

_ERRORS_SEARCHED = 8  # of a chain, for an interrupted block


class Context(Protocol):
    """The transaction context as a run uses it."""

    store: Any
    notes: str | None
    observed: ObservedTransaction | None
    depth: int

    def begin(self) -> None:
        """Begin a transaction."""

    def commit(self) -> None:
        """Commit the transaction."""

    def rollback(self) -> None:
        """Roll back the transaction."""


WAITING, BEGINNING, OPEN, COMMITTING, ROLLING_BACK, DECIDED, OVER = range(7)
"""The phases of a run."""


class Run(Lease):
    """A transaction in progress.

    Attributes:
        observed: the transaction as it is emitted.
        phase: its phase.
        doomed_by: the error of an inner block, which prevents the commit.
        hold: the held key changes.
    """

    phase = WAITING
    doomed_by: BaseException | None = None
    hold: Hold | None = None
    _outcome: TransactionOutcome = "rolled_back"
    _error: BaseException | None = None
    _has_begun = False
    _is_tried = False
    _commit_started_at: float | None = None
    _commit_duration: float | None = None
    _over: ThreadGate | None = None

    def __init__(self, holder: object, context: Context, turn: Turn) -> None:
        super().__init__(holder)
        self.context = context
        self._turn = turn
        self.observed = ObservedTransaction(observer_of(context.store), context.notes)

    @property
    def is_kept_by_traceback(self) -> bool:
        """True if its block was interrupted, and only exists because the traceback of the interrupt is kept."""
        error, last = sys.exc_info()[1], sys.__dict__.get("last_value")  # getattr takes four times as long to find none
        return not (error is None and last is None) and self._was_interrupted_by((error, last))

    def begin(self) -> None:
        """Wait for the turn, begin, and emit the start."""
        context = self.context
        self._turn.take(self)
        self.phase = BEGINNING
        context.begin()
        self._has_begun = True
        context.observed = self.observed
        context.depth = 1
        self.hold = self.observed.observer.event_manager.hold(StoreModificationEvent, {"source": context.store})
        self.hold.__enter__()
        self.observed.begin()
        self.is_open = True
        self.phase = OPEN
        if self.owner.task is not None:
            self.outer = _still_open(carried.get())
            carried.set(self)
        self.observed.emit_start()

    def abort(self, error: BaseException | None) -> None:
        """Undo an interrupted or failed begin."""
        if self.phase in (WAITING, BEGINNING):
            if self.phase == BEGINNING and (self._has_begun or _is_in_transaction(self.context.store)):
                _roll_back(self.context, error)
            self._free()
            self.phase = OVER
        else:
            self.finish(error)

    def finish(self, error: BaseException | None) -> None:
        """Commit, or roll back because of `error`; release the store; and emit the end.

        Called again after an interrupt, which is then the `error`, it resumes. Raises TransactionAbortedError.
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
            failure, self._error, self.doomed_by = self._error, None, None  # their frames refer to this run
            self.phase = OVER
            if self._over is not None:
                self._over.open()
            if error is None and failure is not None:
                raise failure

    def wait_until_over(self, timeout: float) -> None:
        """Wait until the end was emitted, or for `timeout` seconds."""
        gate = self.__dict__.setdefault("_over", ThreadGate())
        if self.phase != OVER:  # checked after the gate is set: either this or `finish` sees the other's step
            gate.wait(timeout)

    def reclaim(self, turn: Turn) -> None:
        """Roll back an abandoned run. Called in a background thread."""
        if self.phase == OVER or self.process is not forks.current:
            return
        error = self.doomed_by or TransactionError(
            f"the transaction with store {turn.store!r} was rolled back: its block was never left, because its thread, "
            "task or generator ended or was interrupted"
        )
        try:
            retry(self.abort, error)
        finally:
            turn.free(self)  # even if its backend or a listener raised

    def _was_interrupted_by(self, errors: Iterable[BaseException | None]) -> bool:
        chains = (one for error in errors for one in islice(chain_of(error), _ERRORS_SEARCHED))
        return any(block is self.holder for one in chains for block in blocks_in(one.__traceback__))

    def _decide(self, error: BaseException | None) -> None:
        self.is_open = False
        undo_interrupted(self)
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
            except Exception as failure:
                if is_interrupt(failure):
                    raise
                if cause is not None:
                    append_to_chain(cause, failure)
                self._outcome = "rollback_failed"
        else:
            if interrupt is not None and cause is not None:
                append_to_chain(interrupt, cause)
            self._outcome = "rollback_failed"
            _roll_back(self.context, None)
        self.phase = DECIDED

    def _free(self) -> None:
        """Release the turn before listeners run.

        Another thread may enter this very context at once, so the end event is made before. Held changes are discarded
        before as well; those that a listener of the end makes are kept.
        """
        context, hold = self.context, self.hold
        if self.phase == DECIDED and self._turn.first is self:
            held = 0 if hold is None else len(hold)
            self.observed.prepare_end(self._outcome, self._error, held=held, commit_duration=self._commit_duration)
            context.depth = 0
        if hold is not None and self._outcome != "committed":
            hold.discard()
        if self.owner.task is not None and carried.get() is self:
            carried.set(self.outer)
        self.is_open = False
        self._turn.free(self)

    def _emit_end(self) -> None:
        try:
            self.observed.emit_end()
        finally:
            if self.hold is not None and self._outcome == "committed":
                self.hold.deliver()


def name_of(store: Any) -> str:
    """Return the name of the store, or of its class."""
    return str(getattr(store, "name", None) or type(store).__name__)


def _still_open(lease: Lease | None) -> Lease | None:
    """Return the lease, or the nearest one outside of it that has not ended."""
    while isinstance(lease, Run) and lease.phase == OVER:
        lease = lease.outer
    return lease


def observer_of(store: Any) -> StoreObserver:
    """Return the observer of the store, or a new one if it has none."""
    own = getattr(store, "_observer", None)
    if isinstance(own, StoreObserver):
        return own
    return StoreObserver(name_of(store), event_manager=getattr(store, "event_manager", None), source=store)


def _is_in_transaction(store: Any) -> bool | None:
    """Return whether the store's backend is in a transaction, or None if that is unknown."""
    in_transaction = getattr(store, "_in_transaction", None)
    try:
        return None if in_transaction is None else bool(in_transaction())
    except StoreError:  # its backend is unreachable
        return None


def _has_taken_effect(store: Any) -> bool:
    return _is_in_transaction(store) is False


def _roll_back(context: Context, error: BaseException | None) -> None:
    try:
        context.rollback()
    except Exception as failure:  # noqa: BLE001 (it is chained to the error that propagates)
        if error is not None:
            append_to_chain(error, failure)
