"""An operation that changes a key: its End event, followed by the events of the changes that took effect."""

from __future__ import annotations

from typing import Any, Self

from encore_events import forks
from encore_events.background import is_in_background, run_in_background
from encore_events.events import BaseEvent
from encore_storage.errors import abandoned_error, is_interrupt
from encore_storage.events import StoreModificationEvent
from encore_storage.observing import Operation
from encore_storage.observing.interrupts import end_interrupted, retry
from encore_storage.transactions.writing import Change, Effect, Write, thread_state


class ChangingOperation:
    """An operation that changes a key; a context manager around the call of the backend."""

    __slots__ = (
        "__weakref__",
        "_change",
        "_effect",
        "_events",
        "_is_delete",
        "_key",
        "_outer",
        "_process",
        "_run",
        "_store",
        "operation",
    )

    def __init__(self, store: Any, key: str, operation: Operation, *, is_delete: bool = False) -> None:
        self._store = store
        self._key = key
        self.operation = operation
        self._is_delete = is_delete
        self._run = store._turn.mine  # noqa: SLF001 (of the base class that makes it)
        self._effect = Effect(store, self)
        self._outer: Effect | None = None
        self._change: Change | None = None
        self._events: list[BaseEvent] | None = None
        self._process = forks.current

    def done(self, change: Change) -> None:
        """Take the change that the backend returned."""
        if not isinstance(change, Change):
            raise TypeError(f"_put of {type(self._store).__name__} must return a Change, not {change!r}")
        self._change = change

    def __enter__(self) -> Self:
        self._outer, thread_state.effect = thread_state.effect, self._effect
        self.__class__ = OpenChangingOperation  # type: ignore[assignment]  # the same object, with a finalizer
        self.operation.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End the operation, and emit a change that took effect, even if the block raised after it."""
        if error is not None:
            end_interrupted(error)
        retry(lambda _: self._finish(error), error)

    def end_interrupted(self, error: BaseException) -> None:
        """Do nothing: it has ended."""

    def _finish(self, error: BaseException | None) -> None:
        """End the operation and emit its changes; called again after an interrupt, resume."""
        if thread_state.effect is self._effect:
            thread_state.effect = self._outer
        write = self._effect.write
        if write is not None and not write.is_over:  # interrupted, and owned by this operation
            write.reclaim(self._store._turn)  # noqa: SLF001 (of the base class that makes it)
        change = self._kept(write)
        self.operation.finish(None if change is not None and error is not None and is_interrupt(error) else error)
        if change is not None and self._process is forks.current:
            if self._events is None:
                held = () if write is None else write.held.values()
                event = self._event_of(change)
                self._events = [*held] if event is None else [*held, event]
            if self._events:
                self._emit_or_hold(write, self._events)
        self.__class__ = ChangingOperation

    def _kept(self, write: Write | None) -> Change | None:
        if write is None:
            return self._change
        if not write.is_kept:
            return None
        return write.change if self._change is None else self._change

    def _event_of(self, change: Change) -> StoreModificationEvent | None:
        observed = None if self._run is None else getattr(self._run, "observed", None)
        event: StoreModificationEvent | None = self._store._observer.change_event(  # noqa: SLF001 (of the base class that makes it)
            "delete" if self._is_delete else "set" if change.is_new else "update",
            self._key,
            change.metadata,
            None if observed is None else observed.transaction_id,
        )
        return event

    def _emit_or_hold(self, write: Write | None, events: list[BaseEvent]) -> None:
        """Emit the events, or hold them inside of another write, which may still be undone."""
        enclosing = None if write is None else write.enclosing
        hold = getattr(self._run, "hold", None) if is_in_background() else None
        for event in events:
            if enclosing is not None:
                enclosing.held[id(event)] = event
            elif hold is not None:
                hold.add(event)
            else:
                self._store.event_manager.deliver(event)


class OpenChangingOperation(ChangingOperation):
    """An operation that has not ended: it has a finalizer, for the reason given in `OpenHeldTurn`."""

    __slots__ = ()

    def end_interrupted(self, error: BaseException) -> None:
        """End the operation that an interrupt kept from ending."""
        retry(lambda _: self._finish(error), error)

    def __del__(self) -> None:
        """Have another thread end an interrupted operation and emit its changes."""
        if self._process is forks.current:
            run_in_background(lambda: self._finish(abandoned_error()))
