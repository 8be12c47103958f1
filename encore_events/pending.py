"""The calls of listeners that the delivery of an event has yet to make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

Call = Callable[[Any], object]

Pending = Iterator[object]
"""A `map` of `operator.call` over the listeners' calls and the event: each `next()` makes one call."""


def state_of(pending: Pending) -> tuple[tuple[Call, ...], int, Any]:
    """Return all calls (none once the iterator is exhausted), the number of calls made, and the iterator over them."""
    _, (_, remaining, _) = cast("tuple[Any, tuple[Any, Any, Any]]", pending.__reduce__())  # the arguments of the `map`
    _, (calls,), *made = remaining.__reduce__()
    return calls, made[0] if made else len(calls), remaining
