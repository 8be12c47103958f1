"""The verdict on an operation: what its error, or the lack of one, says of its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from encore_events.progress import ExitState
from encore_storage.errors import ErrorType, KeyNotFoundError, error_type_of
from encore_storage.events import Outcome

Misses = tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""The exceptions that mean that there is nothing under a key: their classes, or a predicate."""

EXIT_STATES: dict[Outcome, ExitState] = {"ok": "normal", "miss": "warning", "error": "error", "cancelled": "exception"}
OUTCOMES: dict[ExitState, Outcome] = {state: outcome for outcome, state in EXIT_STATES.items()}

_ANY = object()


def is_cancellation(error: BaseException) -> bool:
    """Return whether the error stops an operation rather than fails it: an interrupt, or the end of a task."""
    return isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception)


def is_miss_of(error: BaseException, misses: Misses) -> bool:
    """Return whether the error is one of `misses`."""
    return isinstance(error, misses) if isinstance(misses, tuple) else bool(misses(error))


def is_missing_key(error: BaseException, key: object = _ANY, store: object = _ANY) -> bool:
    """Return whether the error says that this key of this store is missing, and not one that a source looked for.

    Without a key, every KeyNotFoundError does; without a store, one of any store.
    """
    if isinstance(error, KeyNotFoundError):
        return key in (_ANY, error.key) and store in (_ANY, error.store)
    return isinstance(error, KeyError) and key is not _ANY and error.args == (key,)


def error_type_for(outcome: Outcome, error: BaseException | None) -> ErrorType | None:
    """Return the word of metrics and logs for the error of an operation with that outcome."""
    if error is None:
        return "other" if outcome == "error" else None
    return None if outcome == "cancelled" else error_type_of(error)
