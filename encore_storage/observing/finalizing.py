"""The finalizer of operations: the last resort for one that is collected before it has ended."""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, cast

from encore_events import forks
from encore_events.background import run_in_background
from encore_storage.errors import abandoned_error

if TYPE_CHECKING:
    from encore_storage.observing.progress import StoreProgressManager


class Finalized:
    """A mixin for an operation in progress: it has a finalizer.

    An interrupt in a finalizer is lost, so an operation has one only while it needs one: its class is exchanged when
    it starts, and again when it ends.
    """

    def __del__(self) -> None:
        """Have another thread close what the operation reads, and end the operation."""
        operation = cast("StoreProgressManager", self)
        if (operation._started or operation._items is not None) and operation.process is forks.current:  # noqa: SLF001
            run_in_background(lambda: _abandon(operation))


def make_finalized(cls: type[StoreProgressManager]) -> None:
    """Make the variant of the class that has a finalizer."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    cls._closed_class = cls
    cls._open_class = type(cls.__name__, (Finalized, cls), names)


def close_items(items: object) -> None:
    """Close the iterator or file, if it can be closed."""
    close = getattr(items, "close", None)
    if close is not None:
        close()


def _abandon(operation: StoreProgressManager) -> None:
    items = operation._items  # noqa: SLF001 (its mixin)
    try:
        close_items(items)
    except ValueError as error:
        # Else the thread that collects the garbage is closing the generator itself.
        if not isinstance(items, GeneratorType) or str(error) != "generator already executing":
            raise
    finally:
        operation.resume_finish(None if operation.ends_ok_if_collected else abandoned_error())
