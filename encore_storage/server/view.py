"""The sum of the states that a client has selected: those of all processes, or of some."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from encore_storage.server.history import START, HistoryCursor, SecondCounts, columns, cursor
from encore_storage.server.operation_table import rows
from encore_storage.server.process_state import ProcessState, counts_of, in_flight_of
from encore_storage.server.recent import Item, items_since

ROWS = 100  # the maximum number of rows of the table of operations that are sent to a client

Seen = tuple[tuple[object, int], ...]
"""Totals or versions by the name of their state."""


class ViewCursor(NamedTuple):
    """The part of the history, the operations and the failures that a client has."""

    history: HistoryCursor = START
    recent: Seen = ()
    failures: Seen = ()


class View:
    """The sum of some states.

    Args:
        states: the states by name. A name means the same state in all views of a feed.
        clock: seconds since the epoch.
    """

    def __init__(self, states: Mapping[object, ProcessState], clock: Callable[[], float]) -> None:
        self._states = states
        self._clock = clock
        self._histories = {name: state.history for name, state in states.items()}

    def __repr__(self) -> str:
        return f"<View of {len(self._states)} states>"

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts since the start, of these stores or (by default) all."""
        totals = dict.fromkeys((*SecondCounts.NAMES, "missed"), 0)
        for state in self._states.values():
            for name, count in state.totals(stores).items():
                totals[name] += count
        return totals

    def current(self, stores: Collection[str], in_flight: int) -> dict[str, Any]:
        """Return the counts of these stores (by default, all), and at most `in_flight` operations in flight."""
        now, states = self._clock(), self._states.values()
        started = min((state.started for state in states), default=now)
        tables = [state.operations for state in states]
        operations, omitted = rows(tables, now, started, stores, counts_of(states), ROWS)
        return {
            "now": now,
            "started": started,
            "replayed": max((state.replayed for state in states if state.replayed is not None), default=None),
            "stores": sorted({store for history in self._histories.values() for store in history.stores}),
            "totals": self.totals(stores),
            "operations": operations,
            "operations_omitted": omitted,
            **in_flight_of(states, stores, in_flight),
        }

    def columns(self, until: float, stores: Collection[str], since: HistoryCursor) -> dict[str, list[Any]]:
        """Return the seconds that were over at `until` and are new or changed since the cursor."""
        return columns(self._histories, until, stores, since)

    def recent(self, seen: Seen, stores: Collection[str], limit: int) -> tuple[list[Item], int]:
        """Return at most `limit` operations that a client has not seen, newest first, and the number omitted."""
        lists = {name: state.recent for name, state in self._states.items()}
        return items_since(lists, dict(seen), stores, limit)

    def failures(self, seen: Seen, stores: Collection[str], limit: int) -> tuple[list[Item], int]:
        """Return at most `limit` failures that a client has not seen, newest first, and the number omitted."""
        lists = {name: state.failures for name, state in self._states.items()}
        return items_since(lists, dict(seen), stores, limit)

    def cursor(self, until: float) -> ViewCursor:
        """Return the cursor of a client that gets everything until `until` next."""
        return ViewCursor(
            cursor(self._histories, until),
            tuple((name, state.recent.total) for name, state in self._states.items()),
            tuple((name, state.failures.total) for name, state in self._states.items()),
        )
