"""The progress of an operation of a store: made by every public call, so made quickly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from encore_events import forks
from encore_events.background import run_in_background
from encore_events.ids import new_id
from encore_events.progress import ExitState
from encore_storage.errors import ForkedStoreError, cut_off
from encore_storage.events import Direction, Operation
from encore_storage.observing.chains import end_cut_off
from encore_storage.observing.progress import StoreProgress, StoreProgressManager


class OperationProgress(StoreProgress):
    """The progress of an operation of a store: what every call of every store makes, and so made quickly."""

    _counts_as = StoreProgressManager

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

    def since(self, began: float) -> Self:
        """Count the duration from `began`, by the clock: the call was at work before it could be told."""
        self._began = began
        return self

    def _identify(self) -> dict[str, Any]:
        identity = self.kwargs.copy()  # and item by item: half the time of one display of all
        identity["source"] = self.source
        identity["operation_id"] = self.operation_id
        identity["message"] = self.message
        identity["steps"] = self.steps
        return identity


class Ending:
    """Whoever has to end an operation: a block, or a stream of bytes or keys. It ends once, whoever comes first.

    Args:
        progress: the progress of the operation.

    Attributes:
        items: what is read, which is closed with the operation where nobody is left to do that.
        is_told: whether the operation has ended.
        process: the process that it belongs to.
    """

    __slots__ = ("is_told", "items", "process", "progress")

    def __init__(self, progress: StoreProgress) -> None:
        """Make the ending of an operation that has not started."""
        self.progress = progress
        self.items: Iterator[object] = _NOTHING
        self.is_told = False
        self.process = forks.current

    def start(self) -> Self:
        """Start the operation."""
        self.__class__ = OpenEnding  # type: ignore[assignment]  # the same object, with a finalizer
        self.progress.start()
        return self

    def take_over(self) -> Self:
        """Be responsible for an operation that has started."""
        self.__class__ = OpenEnding  # type: ignore[assignment]  # the same object, with a finalizer
        return self

    def forked(self) -> ForkedStoreError:
        """Return the error of reading in a child of the process that has opened it."""
        what = f"the stream or query {getattr(self.progress, 'message', '')!r}"
        return ForkedStoreError(what, self.process.pid, "open another in the child")

    def tell(self, error: BaseException | None = None) -> None:
        """Emit the end here and now."""
        if self.process is forks.current:
            if error is not None:
                end_cut_off(error)
            self.progress.finish(error)
        self.is_told = True
        self.__class__ = Ending

    def end_cut_off(self, error: BaseException) -> None:
        """Do nothing, once it is over."""

    def tell_of(self, close: Callable[[], object]) -> None:
        """Close what was read, and emit how that went."""
        try:
            close()
        except BaseException as error:
            self.tell(error)
            raise
        self.tell()

    def __enter__(self) -> StoreProgress:
        """Start."""
        self.start()
        return self.progress

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End with the outcome that the block's exception stands for."""
        if error is not None:
            end_cut_off(error)
        self.progress.finish(error)
        self.__class__ = Ending


class OpenEnding(Ending):
    """The ending of an operation that is not over: the last resort where an interrupt came, or nobody closed it.

    An interrupt that arrives in a finalizer is lost. So only what is not over has one: what is becomes its base class.
    """

    __slots__ = ()

    def end_cut_off(self, error: BaseException) -> None:
        """End as it should have ended, had an interrupt not kept it from that."""
        self.tell(error)

    def __del__(self) -> None:
        """Have another thread close what was read, and end the operation as cancelled."""
        if self.process is forks.current:
            run_in_background(_abandoned(self.items, self.progress))


def _abandoned(items: Iterator[object], progress: StoreProgress) -> Callable[[], None]:
    def tell() -> None:
        try:
            close_items(items)
        finally:
            progress.finish_cut_off(cut_off())

    return tell


def close_items(items: Iterator[object]) -> None:
    """Close an iterator that can be closed."""
    close = getattr(items, "close", None)
    if close is not None:
        close()


_NOTHING: Iterator[object] = iter(())


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

    def finish_cut_off(self, error: BaseException | None, attempts: int = 2) -> None:
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
