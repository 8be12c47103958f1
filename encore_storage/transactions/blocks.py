"""The `with` blocks of transactions: the outermost begins the run and ends it, also where an interrupt cuts it off."""

from __future__ import annotations

from encore_events import forks
from encore_events.background import is_in_background
from encore_storage.errors import ForkedStoreError, TransactionError
from encore_storage.observing.interrupts import end_cut_off, go_on
from encore_storage.transactions.runs import OVER, Context, Run
from encore_storage.transactions.turn import Turn

_A_MOMENT = 0.1
"""Seconds that a finalizer waits at most for the other thread: what that does may wait for a lock of this one."""

_PATIENCE = 1.0
"""Seconds that whoever leaves a block in the wrong place waits for its end to be emitted."""


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

    def end_cut_off(self, error: BaseException) -> None:
        """Do nothing, once it was left."""

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; the outermost ends the run.

        Raises:
            ForkedStoreError: it was entered in the process that this one was forked from.
            TransactionAbortedError: an inner block failed, so all was rolled back.
            TransactionError: it was entered in another thread or task, so all was rolled back; or its run is over.
        """
        end_cut_off(error)
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
            go_on(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        """Finish the run; called again after an interrupt, go on with what is left: a commit, a rollback, events."""
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
                f"the transaction with store {self._turn.store!r} that this block has joined is over: leave it earlier"
            )

    def _leave_elsewhere(self, run: Run, error: BaseException | None) -> None:
        """Roll back in the thread that ends what was abandoned: the owner may be at work with it at this moment."""
        mistake = TransactionError(
            f"the transaction with store {self._turn.store!r} was rolled back: it was entered in another thread or "
            "task than it was left in, where nothing can be part of it; enter and leave it in the same"
        )
        self._is_left = True
        if run.doomed_by is None:
            run.doomed_by = mistake
        if self._is_outermost and run.phase != OVER:
            run.is_open = False
            if is_in_background():
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

    An interrupt that arrives in a finalizer is lost. So only what was not left has one: what was left is of the base
    class.
    """

    __slots__ = ()

    def leave(self, error: BaseException | None) -> None:
        """Leave the block; see the base class."""
        try:
            super().leave(error)
        finally:
            if self._is_left:
                self.__class__ = Block  # type: ignore[assignment]  # the same object, without a finalizer

    def end_cut_off(self, error: BaseException) -> None:
        """Leave the block as it should have been left, had an interrupt not kept it from that."""
        self.break_off(error)
        self.__class__ = Block  # type: ignore[assignment]  # the same object, without a finalizer

    def __del__(self) -> None:
        """Have the run ended by another thread, where the block was never left."""
        run = self._run
        if run is None or self._is_left or run.process is not forks.current:
            return
        if self._is_outermost:
            self._turn.settle(run)
            if not is_in_background():
                run.over.wait(_A_MOMENT)  # so that mostly all is over when an interrupt has been handled
        elif run.doomed_by is None:
            run.doomed_by = TransactionError("a block inside it was never left")
