"""The counts of a process, and what it has in flight: of this one, of another one, or of several together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from encore_storage.codec import dumps
from encore_storage.codec.text import loads
from encore_storage.processes.errors import FrameError
from encore_storage.processes.info import ProcessInfo
from encore_storage.server.activity import Activity
from encore_storage.server.history import History
from encore_storage.server.operation_table import Key, OperationTable
from encore_storage.server.recent import KEPT, Item, RecentItems

_CHUNK = 500  # rows of a message about ten minutes, so that the reader does not block others for long


class StateCursor(NamedTuple):
    """The part of the state of a process that the serving process has."""

    history: int = -1
    operations: int = -1
    recent: int = 0
    failures: int = 0


class ProcessState:
    """The counts of one or more processes, and what they have in flight.

    Attributes:
        started: when the first of them began to count, in seconds since the epoch.
        missed: the number of events dropped before they were counted.
        unsent: the number of events counted but dropped before they were sent to the serving process.
        replayed: the recorded time of the latest event of a replay, or None.
        history: the counts by second.
        operations: the counts of the last minute by store and operation.
        recent: the operations that ended last.
        failures: the failures that happened last.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.missed = 0
        self.unsent = 0
        self.replayed: float | None = None
        self.history = History()
        self.operations = OperationTable()
        self.recent = RecentItems()
        self.failures = RecentItems()

    def in_flight(self, stores: Collection[str], limit: int) -> Item:  # noqa: ARG002 (of a sum of none)
        """Return what is in flight in these stores (by default, all), oldest first, at most `limit` of each kind."""
        return {"in_flight": [], "in_flight_total": 0, "transactions_in_flight": []}

    def in_flight_counts(self) -> Counter[Key]:
        """Return the number of operations in flight by row of the table of operations."""
        return Counter()

    def totals(self, stores: Collection[str] = ()) -> dict[str, int]:
        """Return all counts since the start, of these stores or (by default) all."""
        return {**self.history.totals(stores), "missed": self.missed}


class OwnState(ProcessState):
    """The state of this process. The feed counts, and what is in flight is current even if the feed lags behind.

    Attributes:
        process: this process.
        version: the number of changes so far; the feed's thread counts them.
        activity: what is in flight, and what ended last.
    """

    def __init__(self, process: ProcessInfo, data_of: Callable[[Any], Item], clock: Callable[[], float]) -> None:
        super().__init__(process.started)
        self.process = process
        self.version = 0
        self.activity = Activity(data_of, clock, process.pid)
        self.recent, self.failures = self.activity.recent, self.activity.failures
        self._clock = clock

    def in_flight(self, stores: Collection[str], limit: int) -> Item:
        """Return what is in flight, as in the base class."""
        return self.activity.in_flight(stores, limit)

    def in_flight_counts(self) -> Counter[Key]:
        """Return the number of operations in flight, as in the base class."""
        counts = Counter[Key]()
        for (store, operation), count in self.activity.in_flight_counts().items():
            counts[self.operations.key_of(store, operation)] += count
        return counts

    def changes(self, since: StateCursor | None) -> tuple[list[bytes], StateCursor]:
        """Return messages with everything new since the cursor, or everything, and the next cursor."""
        known = StateCursor() if since is None else since
        # Made before the reads below: what is added meanwhile is sent twice rather than never.
        cursor = StateCursor(self.history.version, self.operations.version, self.recent.total, self.failures.total)
        seconds, totals = self.history.changes(known.history)
        now = self._clock()
        message = {
            "missed": self.missed,
            "unsent": self.unsent,
            "replayed": self.replayed,
            "totals": totals,
            "seconds": seconds[:_CHUNK],
            "periods": self.operations.changes(known.operations),
            "recent": [item for _, item in self.recent.numbered(known.recent)],
            "failures": [item for _, item in self.failures.numbered(known.failures)],
            "now": now,
            "counts": [[*key, count] for key, count in self.in_flight_counts().items()],
            "is_whole": since is None,
            **self.activity.in_flight((), KEPT),
        }
        more = [{"seconds": seconds[start : start + _CHUNK]} for start in range(_CHUNK, len(seconds), _CHUNK)]
        return [dumps(each) for each in (message, *more)], cursor


class MemberState(ProcessState):
    """The state of another process, as received from it.

    Attributes:
        process: that process.
        state: 'running', 'ended' or 'vanished'.
        ended_at: when it ended, in seconds since the epoch, or None.
    """

    def __init__(self, process: ProcessInfo) -> None:
        super().__init__(process.started)
        self.process = process
        self.state = "running"
        self.ended_at: float | None = None
        self._operations_in_flight: list[Item] = []
        self._transactions_in_flight: list[Item] = []
        self._counts = Counter[Key]()

    def in_flight(self, stores: Collection[str], limit: int) -> Item:
        """Return what is in flight, as in the base class."""
        counts = self._counts
        return {
            "in_flight": _aged(self._operations_in_flight, stores, limit),
            "in_flight_total": sum(count for key, count in counts.items() if not stores or key[0] in stores),
            "transactions_in_flight": _aged(self._transactions_in_flight, stores, limit),
        }

    def in_flight_counts(self) -> Counter[Key]:
        """Return the number of operations in flight, as in the base class."""
        return self._counts

    def take(self, payload: bytes, others: ProcessState) -> None:
        """Take a message, and add what it changes to the sum of all other processes. Raises FrameError."""
        try:
            message = loads(payload)
            self.history.replace(message["seconds"], message.get("totals", ()), others.history)
            if "now" in message:
                self._take_current(message, others)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FrameError("a malformed state") from error

    def described(self) -> dict[str, Any]:
        """Return what the page shows of the process."""
        ended = {"state": self.state, "ended_at": self.ended_at, "is_serving": False}
        return {**self.process._asdict(), **ended}

    def end(self, time: float, *, vanished: bool) -> Counter[Key]:
        """Mark the process as ended, and return the number of operations in flight, as `in_flight_counts()` did."""
        in_flight = self._counts
        self.state, self.ended_at = "vanished" if vanished else "ended", time
        self._operations_in_flight, self._transactions_in_flight, self._counts = [], [], Counter()
        return in_flight

    def _take_current(self, message: Mapping[str, Any], others: ProcessState) -> None:
        self.operations.replace(message["periods"], others.operations)
        missed, unsent = int(message["missed"]), int(message["unsent"])
        others.missed += missed - self.missed
        others.unsent += unsent - self.unsent
        self.missed, self.unsent = missed, unsent
        replayed = message["replayed"]
        if replayed is not None:
            self.replayed = others.replayed = float(replayed)
        known = {item["id"] for _, item in (*self.recent.numbered(), *self.failures.numbered())}
        for name in ("recent", "failures"):
            new = [_checked_item(item) for item in message[name] if item["id"] not in known]
            if message["is_whole"]:
                getattr(self, name).insert(new)
                getattr(others, name).insert(new)
                continue
            for item in new:
                getattr(self, name).add(item)
                getattr(others, name).add(item)
        float(message["now"])  # only checked: ages are counted from here on by the clock of this process
        self._operations_in_flight = [_since(item) for item in message["in_flight"]]
        self._transactions_in_flight = [_since(item) for item in message["transactions_in_flight"]]
        self._counts = Counter({(str(store), str(name)): int(count) for store, name, count in message["counts"]})


class Others(ProcessState):
    """The sum of the states of all other processes, of those that have ended, too.

    Args:
        started: until another process joins.
        running: returns the states of those that are running.
    """

    def __init__(self, started: float, running: Callable[[], Iterable[MemberState]]) -> None:
        super().__init__(started)
        self._running = running

    def in_flight(self, stores: Collection[str], limit: int) -> Item:
        """Return what is in flight, as in the base class."""
        return in_flight_of(self._running(), stores, limit)

    def in_flight_counts(self) -> Counter[Key]:
        """Return the number of operations in flight, as in the base class."""
        return counts_of(self._running())


def in_flight_of(states: Iterable[ProcessState], stores: Collection[str], limit: int) -> Item:
    """Return what is in flight in several states, oldest first, at most `limit` of each kind."""
    found = [state.in_flight(stores, limit) for state in states]
    if len(found) == 1:
        return found[0]
    return {
        "in_flight": _oldest([item for one in found for item in one["in_flight"]], limit),
        "in_flight_total": sum(one["in_flight_total"] for one in found),
        "transactions_in_flight": _oldest([item for one in found for item in one["transactions_in_flight"]], limit),
    }


def counts_of(states: Iterable[ProcessState]) -> Counter[Key]:
    """Return the number of operations in flight in several states, by row of the table of operations."""
    counts = Counter[Key]()
    for state in states:
        counts.update(state.in_flight_counts())
    return counts


def _oldest(items: list[Item], limit: int) -> list[Item]:
    return sorted(items, key=lambda item: -item["age"])[:limit]


def _since(item: Item) -> Item:
    """Return the item with its start by the clock of this process, since that of the system may be set back."""
    return {**item, "age": float(item["age"]), "since": time.monotonic() - float(item["age"])}


def _aged(items: list[Item], stores: Collection[str], limit: int) -> list[Item]:
    now = time.monotonic()
    found = [item for item in items if not stores or item["store"] in stores][:limit]
    return [
        {**{name: value for name, value in item.items() if name != "since"}, "age": max(now - item["since"], 0.0)}
        for item in found
    ]


def _checked_item(item: Item) -> Item:
    float(item["time"])
    _ = item["store"]
    return item
