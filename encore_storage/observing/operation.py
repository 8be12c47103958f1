"""The operations of an observer: cheap, since each call makes one, and silent if there are no listeners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from encore_events import forks
from encore_events.ids import new_id
from encore_events.progress import ExitState
from encore_storage.errors import KeyNotFoundError
from encore_storage.observing.outcomes import is_miss_of, is_missing_key
from encore_storage.observing.progress import StoreProgressManager

if TYPE_CHECKING:
    from encore_storage.observing.observer import StoreObserver

_enclosing: ContextVar[tuple[Operation, ...]] = ContextVar("encore_storage_enclosing_operations", default=())
"""The operations whose `enclosing()` blocks the caller is in, the innermost first."""


class Operation(StoreProgressManager):
    """One operation of an observer; see `StoreObserver.operation`."""

    def __init__(
        self,
        observer: StoreObserver,
        operation: str,
        key: str | None,
        message: str | None,
        steps: int,
        attributes: dict[str, Any],
    ) -> None:
        """Make an operation that has not started."""
        self.event_manager = observer.event_manager
        self.source = observer.source
        self.operation_id = new_id()
        self.message = message or (operation if key is None else f"{operation} {key}")
        self.steps = steps
        self.kwargs = attributes
        self.observer = observer
        self.process = forks.current

    @contextmanager
    def enclosing(self) -> Iterator[Self]:
        """Return a block in which operations of other observers get this one's id as their `parent_id`."""
        outer = _enclosing.get()
        _enclosing.set((self, *outer))
        try:
            yield self
        finally:
            _enclosing.set(outer)

    def backdate(self, seconds: float) -> None:
        """Count the `seconds` before the start as part of the duration."""
        self._started_at -= seconds

    def _identify(self) -> dict[str, Any]:
        identity = self.kwargs  # setting items takes half the time of a new dict
        identity["source"] = self.source
        identity["operation_id"] = self.operation_id
        identity["message"] = self.message
        identity["steps"] = self.steps
        return identity

    def _is_miss(self, error: BaseException) -> bool:
        attributes = self.kwargs
        if isinstance(error, KeyError) and is_missing_key(error, attributes["key"], attributes["store"]):
            return True
        return (
            attributes["direction"] != "write"
            and not isinstance(error, KeyNotFoundError)  # of another store or key, which a source looked up
            and is_miss_of(error, self.observer.misses)
        )


class SilentOperation(Operation):
    """An operation without listeners: it counts and emits nothing."""

    operation_id = None
    message = ""

    def __init__(self) -> None:
        """Make an operation at next to no cost."""
        self.steps = -1
        self.process = forks.current

    def __repr__(self) -> str:
        """Return the name of the class."""
        return "<SilentOperation>"

    @contextmanager
    def enclosing(self) -> Iterator[Self]:
        """Return a block without effect."""
        yield self

    def start(self) -> None:
        """Emit nothing."""

    def finish(self, error: BaseException | None = None) -> None:  # noqa: ARG002 (as in the base class)
        """Emit nothing."""
        self.is_over = True
        self.__class__ = self._closed_class  # type: ignore[assignment]  # the same object, without a finalizer

    def backdate(self, seconds: float) -> None:
        """Measure nothing."""

    def step(self, message: str | None = None, step: int | None = None) -> None:
        """Emit nothing."""

    def count(self, more: int) -> None:
        """Count nothing."""

    def count_to(self, total: int) -> None:
        """Count nothing."""

    def end(
        self,
        message: str | None = None,  # noqa: ARG002 (as in the base class)
        exit_state: ExitState = "normal",  # noqa: ARG002
        *,
        error: BaseException | None = None,  # noqa: ARG002
    ) -> None:
        """Emit nothing."""
        self.finish()

    def __call__(self, message: str | int | None = None, step: int | None = None) -> None:
        """Emit nothing."""


def enclosing_operation_id(observer: object) -> str | None:
    """Return the id of the nearest enclosing operation of another observer, or None."""
    for operation in _enclosing.get():
        if operation.observer is not observer:
            return str(operation.operation_id)
    return None
