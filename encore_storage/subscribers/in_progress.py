"""Operations and transactions in progress, by id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

from encore_events.forks import renew_in_child

T = TypeVar("T")

MOST = 10_000
"""How many items an `InProgress` holds. Past that, it evicts the oldest: their ends were missed."""


class InProgress(dict[object, T]):
    """What has started and not ended yet, by id: bounded, and empty in a forked child.

    A start is `start(id, item)`, a step changes what `get(id)` returns, and an end is `pop(id, None)`. Emitting threads
    take no lock: each of these is one call into C. A step that is later than its end finds nothing to change.
    """

    def __init__(self) -> None:
        """Start with nothing in progress."""
        super().__init__()
        renew_in_child(self, InProgress._leave)

    def __repr__(self) -> str:
        """Return how many are in progress."""
        return f"<InProgress: {len(self)}>"

    def start(self, id: object, item: T) -> Sequence[T]:  # noqa: A002 (what events call it)
        """Add an item, in place of one with the same id; return those that were evicted for it."""
        self[id] = item
        return self._evict() if len(self) > MOST else ()

    def _evict(self) -> list[T]:
        excess = len(self) - MOST + MOST // 100  # some more, since finding the oldest takes time
        with contextlib.suppress(RuntimeError):  # another thread has changed the dict: its next start evicts them
            return [item for one in list(islice(self, excess)) if (item := self.pop(one, None)) is not None]
        return []

    def _leave(self) -> object:
        """Leave all items to the parent, in a forked child; return them, to be freed later."""
        left = self.copy()
        self.clear()
        return left
