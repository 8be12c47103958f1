"""Operations and transactions in progress, by id."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

from encore_events.forks import renew_in_child

T = TypeVar("T")

MOST = 10_000  # beyond it, the oldest items are evicted: their ends were missed


class InProgress(dict[object, T]):
    """Items that have started and not ended, by id: bounded, and empty in a forked child.

    Use `start(id, item)`, `get(id)` and `pop(id, None)`. Each is one C call on the dict, so emitting threads need no
    lock. A step that comes after its end finds nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        renew_in_child(self, InProgress._renew)

    def __repr__(self) -> str:
        return f"<InProgress: {len(self)}>"

    def start(self, id: object, item: T) -> Sequence[T]:  # noqa: A002 (the name that events use)
        """Add `item`, replacing one with the same id. Return the items evicted for it."""
        self[id] = item
        return self._evict() if len(self) > MOST else ()

    def _evict(self) -> list[T]:
        excess = len(self) - MOST + MOST // 100  # 1 % more than needed, since each search for the oldest takes time
        with contextlib.suppress(RuntimeError):  # another thread changed the dict: the next start will evict
            return [item for one in list(islice(self, excess)) if (item := self.pop(one, None)) is not None]
        return []

    def _renew(self) -> object:
        """Drop all items in a forked child; return them, to be freed later."""
        inherited = self.copy()
        self.clear()
        return inherited
