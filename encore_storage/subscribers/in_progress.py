"""Operations and transactions in progress, by id."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Generic, TypeVar

from encore_events.forks import renew_in_child

T = TypeVar("T")

MOST = 10_000
"""How many items an `InProgress` holds. Past that, it evicts the oldest: their ends were missed."""

_REMEMBERED = 100  # ids of those that ended last


class InProgress(Generic[T]):
    """What has started and not ended yet, by id: bounded, and empty in a forked child.

    Emitting threads use it without a lock: each change is one call into C.
    """

    def __init__(self) -> None:
        """Start with nothing in progress."""
        self._items: dict[object, T] = {}
        self._ended: deque[object] = deque(maxlen=_REMEMBERED)
        renew_in_child(self, InProgress.clear)

    def __len__(self) -> int:
        """Return how many are in progress."""
        return len(self._items)

    def __repr__(self) -> str:
        """Return how many are in progress."""
        return f"<InProgress: {len(self)}>"

    def start(self, id: object, item: T) -> Sequence[T]:  # noqa: A002 (what events call it)
        """Add an item, in place of one with the same id; return those that were evicted for it."""
        self._items[id] = item
        return self._evict() if len(self._items) > MOST else ()

    def get(self, id: object) -> T | None:  # noqa: A002 (as above)
        """Return the item with that id."""
        return self._items.get(id)

    def adopt(self, id: object, item: T) -> None:  # noqa: A002 (as above)
        """Add an item whose start was missed, unless it has just ended: then its event is late."""
        self.start(id, item)
        if id in self._ended.copy():  # only now: another thread may have ended it meanwhile
            self._items.pop(id, None)

    def end(self, id: object) -> T | None:  # noqa: A002 (as above)
        """Remove and return the item with that id."""
        self._ended.append(id)
        return self._items.pop(id, None)

    def items(self) -> list[T]:
        """Return the items in progress, the oldest first."""
        return list(self._items.values())

    def clear(self) -> object:
        """Remove all items; return what holds them, to be freed later."""
        left, self._items = self._items, {}
        return left

    def _evict(self) -> list[T]:
        excess = len(self._items) - MOST + MOST // 100  # many at once: finding the oldest takes time
        with contextlib.suppress(RuntimeError):  # another thread has changed the dict: its next start evicts them
            oldest = list(islice(self._items, excess))
            return [item for id in oldest if (item := self._items.pop(id, None)) is not None]  # noqa: A001 (as above)
        return []
