"""The keys of a store with their metadata, which a query may narrow down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from encore_storage.metadata import Metadata

Item = tuple[str, Metadata]


class Items(Iterator[Item]):
    """An iterator over keys with their metadata, returned by a store that need not read all of it in a query.

    Args:
        scan: `scan(wanted)` returns the items as of its first `next`. It may leave out those whose metadata lacks
            something wanted.
    """

    def __init__(self, scan: Callable[[Mapping[str, Any]], Iterator[Item]]) -> None:
        self._scan = scan
        self._all = scan({})

    def __next__(self) -> Item:
        return next(self._all)

    def narrowed(self, wanted: Mapping[str, Any]) -> Iterator[Item]:
        """Return an iterator over at least the items whose metadata has all that is wanted."""
        return self._scan(wanted)
