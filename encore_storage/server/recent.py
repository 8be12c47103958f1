"""The latest items of a list on the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

KEPT = 100  # operations, and as many failures

Item = dict[str, Any]


class RecentItems:
    """The latest items, newest last. One thread adds and any number of threads read, without a lock."""

    def __init__(self, kept: int = KEPT) -> None:
        self.total = 0
        self._inserted = 0  # the total after the last insertion
        self._items: deque[tuple[int, Item]] = deque(maxlen=kept)

    def __repr__(self) -> str:
        return f"<RecentItems: {len(self._items)} of {self.total}>"

    def add(self, item: Item) -> None:
        """Append an item, evicting the oldest."""
        self._items.append((self.total + 1, item))
        self.total += 1

    def insert(self, items: Iterable[Item]) -> None:
        """Add items among the others by their time, and keep the latest. They all count as new."""
        kept = self._items.maxlen
        merged = sorted([*(item for _, item in self._items), *items], key=_time_of)[-(kept or 0) :]
        self._items = deque(enumerate(merged, self.total + 1), kept)
        self.total += len(merged)
        self._inserted = self.total

    def has_inserted(self, after: int) -> bool:
        """Return whether items were inserted since the total was `after`."""
        return after < self._inserted

    def numbered(self, after: int = 0) -> list[tuple[int, Item]]:
        """Return the items after the first `after`, oldest first, each with its number."""
        return [one for one in self._items.copy() if one[0] > after]

    def since(self, seen: int, stores: Collection[str], limit: int) -> tuple[list[Item], int]:
        """Return at most `limit` items after the first `seen`, newest first, and the number of those omitted.

        Evicted items count as omitted, whatever their store.
        """
        items = self._items.copy()
        evicted = max((items[0][0] if items else 1) - 1 - seen, 0)
        new = [item for number, item in reversed(items) if number > seen and (not stores or item["store"] in stores)]
        return new[:limit], len(new[limit:]) + evicted


def items_since(
    lists: Mapping[object, RecentItems], seen: Mapping[object, int], stores: Collection[str], limit: int
) -> tuple[list[Item], int]:
    """Return at most `limit` items of all lists, newest first, and the number of those omitted.

    `seen` has the number of items that a client has of each list. Where items were inserted it is not known which ones
    the client has, so all that are kept are returned.
    """
    if any(one.has_inserted(seen.get(name, 0)) for name, one in lists.items()):
        limit = max(limit, KEPT)
    found = [one.since(seen.get(name, 0), stores, KEPT) for name, one in lists.items()]
    # Processes send their items in batches, so that the last ones to arrive may all be from one.
    newest = sorted((item for items, _ in found for item in items), key=_time_of, reverse=True)
    return newest[:limit], len(newest[limit:]) + sum(omitted for _, omitted in found)


def _time_of(item: Item) -> float:
    return float(item["time"])
