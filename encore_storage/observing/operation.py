"""The operations of an observer: cheap, since each call makes one, and silent if there are no listeners."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from encore_events import forks
from encore_events.errors import ProgressError
from encore_events.ids import new_id
from encore_events.progress import ExitState
from encore_storage.errors import KeyNotFoundError
from encore_storage.observing.outcomes import check_exit_state, is_miss_of, is_missing_key
from encore_storage.observing.progress import StoreProgressManager

if TYPE_CHECKING:
    from encore_storage.observing.observer import StoreObserver

Enclosing = tuple[weakref.ref["Operation"], ...]

enclosing_operations: ContextVar[Enclosing] = ContextVar("encore_storage_enclosing_operations", default=())
"""The operations whose `enclosing()` blocks the caller is in, the innermost first.

They are held weakly: event loops keep the contexts of connections, and an operation that is collected has to end.
"""


class Operation(StoreProgressManager):
    """One operation of an observer; see `StoreObserver.operation`.

    Attributes:
        target: the observed object of a client, while one of its methods is running as this operation; else None.
        work: what a client keeps with the operation.
    """

    target: object = None
    work: Any = None

    def __init__(
        self,
        observer: StoreObserver,
        operation: str,
        key: str | None,
        message: str | None,
        steps: int,
        attributes: dict[str, Any],
    ) -> None:
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
        outer = enclosing_operations.get()
        enclosing_operations.set((weakref.ref(self), *outer))
        try:
            yield self
        finally:
            enclosing_operations.set(outer)

    def backdate(self, seconds: float) -> None:
        """Count the `seconds` before the start as part of the duration."""
        self._started_at -= seconds

    def measure_first_byte(self) -> None:
        """Set `first_byte` to the seconds since the start."""
        self.first_byte = self._now() - self._started_at

    def _identify(self) -> dict[str, Any]:
        identity = self.kwargs  # setting items takes half the time of a new dict
        identity["source"] = self.source
        identity["operation_id"] = self.operation_id
        identity["message"] = self.message
        identity["steps"] = self.steps
        return identity

    def _is_miss(self, error: BaseException) -> bool:
        attributes = self.kwargs
        if attributes["direction"] == "write":
            return False
        if isinstance(error, KeyError) and is_missing_key(error, attributes["key"], attributes["store"]):
            return True
        # Another KeyNotFoundError is of a key that a source looked up.
        return not isinstance(error, KeyNotFoundError) and is_miss_of(
            error, self.observer.misses, logs_types_only=self.event_manager.reports_types_only
        )


class SilentOperation(Operation):
    """An operation without listeners: it emits nothing, and otherwise behaves as one with listeners."""

    operation_id = None

    def __init__(self, operation: str, key: str | None) -> None:
        self.steps = -1
        self.process = forks.current
        self._name = operation, key

    def __repr__(self) -> str:
        return "<SilentOperation>"

    @property
    def message(self) -> str:  # type: ignore[override]  # made when it is asked for
        """The description of the operation."""
        operation, key = self._name
        return operation if key is None else f"{operation} {key}"

    @contextmanager
    def enclosing(self) -> Iterator[Self]:
        """Return a block without effect."""
        yield self

    def start(self) -> None:
        """Start without an event."""
        if self._started or self._ended:
            raise ProgressError("start", self.message)
        self._started, self._due = True, math.inf

    def finish(self, error: BaseException | None = None) -> None:  # noqa: ARG002 (as in the base class)
        """End without an event."""
        self._started, self._ended, self.is_over, self._due = False, True, True, -math.inf
        if self.__class__ is not self._closed_class:
            self.__class__ = self._closed_class  # type: ignore[assignment]  # the same object, without a finalizer

    def backdate(self, seconds: float) -> None:
        """Measure nothing."""

    def measure_first_byte(self) -> None:
        """Measure nothing."""

    def resume_finish(self, error: BaseException | None) -> None:
        """End without an event."""
        self.finish(error)

    def end(
        self,
        message: str | None = None,  # noqa: ARG002 (as in the base class)
        exit_state: ExitState = "normal",
        *,
        error: BaseException | None = None,
    ) -> None:
        """End without an event."""
        check_exit_state(exit_state)
        if not self._started:
            raise ProgressError("end", self.message)
        self.finish(error)


def enclosing_operation_id(observer: object) -> str | None:
    """Return the id of the nearest enclosing operation of another observer, or None."""
    for reference in enclosing_operations.get():
        operation = reference()
        if operation is not None and operation.operation_id is not None and operation.observer is not observer:
            return str(operation.operation_id)
    return None
