"""The `with` blocks of transactions: the outermost begins and ends the run, even if it is interrupted."""

from __future__ import annotations

from encore_events import forks
from encore_events.background import is_in_background
from encore_storage.errors import ForkedStoreError, TransactionError
from encore_storage.observing.interrupts import end_interrupted, retry
from encore_storage.transactions.runs import OVER, Context, Run
from encore_storage.transactions.turn import Turn

_FINALIZER_WAIT = 0.1  # seconds that a finalizer waits for the background thread, which may wait for this thread
_MISUSE_WAIT = 1.0  # seconds to wait for the end event of a block that was left in another thread or task


class Block:
    """One `with` block of a transaction, which begins a run or joins the one in progress."""

    __slots__ = ("__weakref__", "_context", "_is_left", "_is_outermost", "_run", "_turn")

    def __init__(self, context: Context, turn: Turn) -> None:
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
                f"cannot begin a transaction while a value for store {self._turn.store!r} is being written: "
                "begin it before the write"
            )
        self._is_outermost = True
        self._run = run = Run(self, self._context, self._turn)
        run.begin()
        return self._context

    def abort(self, error: BaseException) -> None:
        """Undo an `enter` that raised."""
        run = self._run
        if run is None or self._is_left:
            return
        if not self._is_outermost:
            self._leave_inner(run, error)
        elif run.process is forks.current:
            run.abort(error)
        self._is_left = True

    def end_interrupted(self, error: BaseException) -> None:
        """Do nothing: it was left."""

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; the outermost ends the run. Raises as `TransactionBlocks.__exit__` does."""
        if error is not None:
            end_interrupted(error)
        run = self._run
        if run is None or self._is_left:
            raise TransactionError(
                f"cannot leave a transaction of store {self._turn.store!r} that was not entered: enter it first"
            )
        if run.process is not forks.current:
            self._leave_in_child(run, error)
        elif not run.is_mine:
            self._leave_elsewhere(run, error)
        elif not self._is_outermost:
            self._leave_inner(run, error)
        else:
            retry(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        """Finish the run; called again after an interrupt, resume its commit, rollback or events."""
        if self._run is not None:
            self._run.finish(error)
        self._is_left = True

    def _leave_inner(self, run: Run, error: BaseException | None) -> None:
        if error is not None and run.doomed_by is None:
            run.doomed_by = error
        self._is_left = True
        if run.is_open:
            run.context.depth -= 1
        elif error is None:
            raise TransactionError(
                f"the transaction with store {self._turn.store!r} ended before an inner block: leave that first"
            )

    def _leave_elsewhere(self, run: Run, error: BaseException | None) -> None:
        """Roll back in the background thread, since the owner may be using the transaction right now."""
        mistake = TransactionError(
            f"the transaction with store {self._turn.store!r} was rolled back: it was entered in another thread or "
            "task than it was left in; enter and leave it in the same one"
        )
        self._is_left = True
        if run.doomed_by is None:
            run.doomed_by = mistake
        if self._is_outermost and run.phase != OVER:
            run.is_open = False
            if is_in_background():
                run.reclaim(self._turn)
            else:
                self._turn.reclaim(run)
                run.wait_until_over(_MISUSE_WAIT)
        if error is None:
            raise mistake

    def _leave_in_child(self, run: Run, error: BaseException | None) -> None:
        self._is_left = True
        if self._is_outermost:
            self._turn.leave_inherited(run)
        if error is None:
            raise ForkedStoreError(
                f"the transaction with store {self._turn.store!r}", run.process.pid, "begin another in the child"
            )


class OpenBlock(Block):
    """A block that has not been left: it has a finalizer, for the reason given in `OpenHeldTurn`."""

    __slots__ = ()

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; see the base class."""
        try:
            Block.leave(self, error)
        finally:
            if self._is_left:
                self.__class__ = Block  # type: ignore[assignment]  # the same object, without a finalizer

    def end_interrupted(self, error: BaseException) -> None:
        """Leave the block because of the interrupt that kept it from being left."""
        self.abort(error)
        self.__class__ = Block  # type: ignore[assignment]  # the same object, without a finalizer

    def __del__(self) -> None:
        """Have another thread end the run of a block that was never left."""
        run = self._run
        if run is None or self._is_left or run.process is not forks.current:
            return
        if self._is_outermost:
            self._turn.reclaim(run)
            if not is_in_background():
                run.wait_until_over(_FINALIZER_WAIT)  # so that the run has usually ended when the interrupt was handled
        elif run.doomed_by is None:
            run.doomed_by = TransactionError("a block inside it was never left")
