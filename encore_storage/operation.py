"""The progress of an operation of a store: made by every public call, so made quickly, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from encore_events.ids import new_id
from encore_events.progress import ExitState
from encore_storage.events import Direction, Operation
from encore_storage.progress import StoreProgress, StoreProgressManager


class OperationProgress(StoreProgress):
    """The progress of an operation of a store: what every call of every store makes, and so made quickly."""

    def __init__(
        self,
        store: Any,
        operation: Operation,
        key: str | None,
        direction: Direction | None,
        steps: int,
        metadata: Mapping[str, Any] | None,
        transaction_id: str | None,
    ) -> None:
        """Make the progress of an operation that has not started."""
        self.event_manager = store.event_manager
        self.source = store
        self.operation_id = new_id()
        self.message = operation if key is None else f"{operation} {key}"
        self.steps = steps
        self.kwargs = {
            "store": store.name,
            "operation": operation,
            "direction": direction,
            "key": key,
            "metadata": metadata,
            "transaction_id": transaction_id,
        }

    def start(self) -> None:
        """Emit that the operation starts."""
        self.__class__ = OpenOperationProgress
        super().start()

    def since(self, began: float) -> Self:
        """Count the duration from `began`, by the clock: the call was at work before it could be told."""
        self._began = began
        return self

    def _settings(self) -> type[StoreProgress]:
        return StoreProgressManager

    def _identify(self) -> dict[str, Any]:
        identity = self.kwargs.copy()  # and item by item: half the time of one display of all
        identity["source"] = self.source
        identity["operation_id"] = self.operation_id
        identity["message"] = self.message
        identity["steps"] = self.steps
        return identity


class OpenOperationProgress(OperationProgress):
    """The progress of an operation that is not over: the last resort of one that an interrupt has cut off.

    An interrupt that arrives in a finalizer is lost. So only what is not over has one: what is becomes its base class.
    """

    def _finish(self, message: str | None, exit_state: ExitState, error: BaseException | None) -> None:
        super()._finish(message, exit_state, error)
        self.__class__ = OperationProgress  # type: ignore[assignment]  # the same object, without a finalizer

    def __del__(self) -> None:
        """Have the end emitted by another thread."""
        self._finish_elsewhere()


class SilentProgress(OperationProgress):
    """The progress of an operation that nobody listens to: it counts nothing and tells nothing."""

    def __init__(self) -> None:
        """Make progress that costs next to nothing."""
        self.steps = -1

    def __repr__(self) -> str:
        """Say that there is nothing to see."""
        return "<SilentProgress>"

    def start(self) -> None:
        """Tell nothing."""

    def finish(self, error: BaseException | None = None) -> None:
        """Emit nothing."""

    def step(self, message: str | None = None, step: int | None = None) -> None:
        """Tell nothing."""

    def count(self, total: int) -> None:
        """Count nothing."""

    def end(
        self, message: str | None = None, exit_state: ExitState = "normal", *, error: BaseException | None = None
    ) -> None:
        """Tell nothing."""

    def __call__(self, message: str | int | None = None, step: int | None = None) -> None:
        """Tell nothing."""

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Tell nothing."""
