"""The outcome of an operation, as its error decides it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from encore_events.loggers import get_logger
from encore_events.progress import ExitState
from encore_storage.errors import ErrorType, KeyNotFoundError, error_type_of
from encore_storage.events import Outcome

logger = get_logger("encore_storage")

Misses = tuple[type[BaseException], ...] | Callable[[BaseException], bool]  # classes, or a predicate
EXIT_STATES: dict[Outcome, ExitState] = {"ok": "normal", "miss": "warning", "error": "error", "cancelled": "exception"}
OUTCOMES: dict[ExitState, Outcome] = {state: outcome for outcome, state in EXIT_STATES.items()}

_ANY = object()


def check_exit_state(exit_state: str) -> None:
    """Raise ValueError if there is no such exit state."""
    if exit_state not in OUTCOMES:
        raise ValueError(f"exit_state must be one of {', '.join(map(repr, OUTCOMES))}, not {exit_state!r}")


def checked_misses(misses: object) -> Misses:
    """Return the classes of exceptions as a tuple, or the predicate. Raises TypeError if it is neither."""
    classes = misses if isinstance(misses, tuple) else (misses,)
    if all(isinstance(cls, type) and issubclass(cls, BaseException) for cls in classes):
        return classes
    if isinstance(misses, type) or not callable(misses):
        raise TypeError(f"misses must be exception classes or a predicate, not {misses!r}: pass a tuple of classes")
    return misses


def is_cancellation(error: BaseException) -> bool:
    """Return whether the error means that the operation was stopped, not that it failed."""
    return isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception)


def is_miss_of(error: BaseException, misses: Misses) -> bool:
    """Return whether the error is one of `misses`; a predicate that raises is logged, and does not match."""
    if isinstance(misses, tuple):
        return isinstance(error, misses)
    try:
        return bool(misses(error))
    except Exception:
        logger.exception("predicate %r failed for %r", misses, error)
        return False


def is_missing_key(error: BaseException, key: object = _ANY, store: object = _ANY) -> bool:
    """Return whether the error means that this key of this store is missing, not a key that a source looked up.

    Without a key, every KeyNotFoundError does; without a store, one of any store.
    """
    if isinstance(error, KeyNotFoundError):
        return key in (_ANY, error.key) and store in (_ANY, error.store)
    return isinstance(error, KeyError) and key is not _ANY and error.args == (key,)


def error_type_for(outcome: Outcome, error: BaseException | None) -> ErrorType | None:
    """Return the error type of an operation with that outcome and error, or None."""
    if error is None:
        return "other" if outcome == "error" else None
    return None if outcome == "cancelled" else error_type_of(error)
