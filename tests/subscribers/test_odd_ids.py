"""Ids of any class, whose methods may raise, in all that keeps what is in progress by its id."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from encore_events import EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.run.counting import RunSummary
from encore_storage.server import EventFeed
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars
from encore_storage.subscribers.logs import open_logger
from encore_storage.subscribers.odd_values import hashable
from encore_storage.subscribers.summary import SummarySubscriber
from tests.subscribers.support import Incomparable, samples


class Quarrelsome(str):
    """A string that raises at each comparison, with the hash of another one."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash("get")

    def __eq__(self, other: object) -> bool:
        raise ValueError(other)

    __ne__ = __eq__


class Undecided(Incomparable):
    """An object whose comparisons have a result without a truth."""

    __hash__ = Incomparable.__hash__

    def __eq__(self, other: object) -> Any:
        return Untrue()


class Untrue:
    """The result of a comparison."""

    def __bool__(self) -> bool:
        raise TypeError


class Hashless:
    """An object whose methods all raise."""

    def __hash__(self) -> int:
        raise TypeError

    def __eq__(self, other: object) -> bool:
        raise RecursionError

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


@dataclass(frozen=True)
class Number:
    """An id with a value."""

    value: object


Made = Callable[[], object]

DISTINCT: dict[str, Made] = {
    "incomparable": Incomparable,
    "undecided": Undecided,
    "hashless": Hashless,
    "object": object,
    "str": lambda: Quarrelsome("get"),
    "tuple": lambda: (Incomparable(), 1),
    "dataclass": lambda: Number(Hashless()),
    "frozenset": lambda: frozenset([Undecided()]),
    "list": lambda: [Incomparable()],
}
EQUAL: dict[str, Made] = {
    "dict": dict,
    "list": lambda: [Number(1)],
    "frozenset": frozenset,
    "dataclass": lambda: Number((1, 2)),
    "decimal": lambda: Decimal("1.50"),
    "path": lambda: PurePosixPath("a/b"),
    "uuid": lambda: UUID(int=2**64),
    "tuple": lambda: (1, ("a", b"b"), None),
    "bytes": lambda: b"a" * 2,
}


@pytest.mark.parametrize("made", DISTINCT.values(), ids=DISTINCT)
def test_ids_that_cannot_be_compared_are_distinct(made: Made) -> None:
    ids = [made() for _ in range(3)]
    found = {hashable(one): number for number, one in enumerate(ids)}

    assert [found.pop(hashable(one)) for one in reversed(ids)] == [2, 1, 0]
    assert hashable("get") not in {hashable(one) for one in ids}


@pytest.mark.parametrize("made", EQUAL.values(), ids=EQUAL)
def test_equal_ids_are_one(made: Made) -> None:
    assert {hashable(made()): 1} == {hashable(made()): 1}
    assert hashable(hashable(made())) == hashable(made())


@pytest.mark.parametrize(
    ("made", "count"),
    [*((made, 3) for made in DISTINCT.values()), *((made, 1) for made in EQUAL.values())],
    ids=[*DISTINCT, *(f"equal {name}" for name in EQUAL)],
)
def test_operations_and_transactions_with_odd_ids_are_in_progress_until_their_ends(
    manager: EventManager, recorder: EventRecorder, made: Made, count: int
) -> None:
    registry, feed = CollectorRegistry(), EventFeed()
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    identities = [
        {"store": "a", "operation": "get", "direction": "read", "operation_id": id_, "timestamp": 1.0, "message": ""}
        for id_ in [made() for _ in range(count)]
    ]

    with ExitStack() as stack:
        bars = ProgressBars(console=screen, delay=0)
        for subscriber in (MetricsSubscriber(registry=registry), feed, bars):
            stack.enter_context(subscriber.connect(manager))
        for one in identities:
            manager.emit(StoreTransactionStartEvent(store="a", transaction_id=one["operation_id"], timestamp=1.0))
            manager.emit(StoreProgressStartEvent(**one))
            manager.emit(StoreProgressStepEvent(**one, step=1, delta=1))
        assert sum(samples(registry, "operations_in_progress").values()) == count
        assert sum(samples(registry, "transactions_in_progress").values()) == count
        assert feed.view().current((), 10)["in_flight_total"] == count
        assert len(bars._bars) == count

        for one in identities if count > 1 else [identities[0] | {"operation_id": made()}]:
            manager.emit(StoreProgressEndEvent(**one, outcome="ok", duration=1.0, bytes=1, delta=0))
            ended = {"outcome": "closed", "duration": 1.0, "operations": 1, "held": 0, "state": "done"}
            manager.emit(StoreTransactionEndEvent(store="a", transaction_id=one["operation_id"], **ended))
        assert len(bars._bars) == 0

    assert not any(samples(registry, "operations_in_progress").values())
    assert not any(samples(registry, "transactions_in_progress").values())
    current = feed.view().current((), 10)
    assert (current["in_flight_total"], current["transactions_in_flight"]) == (0, [])
    assert recorder.of(ListenerErrorEvent) == []


@pytest.mark.parametrize("made", [*DISTINCT.values(), dict], ids=[*DISTINCT, "dict"])
def test_stores_operations_and_outcomes_of_any_class_are_counted(
    manager: EventManager, recorder: EventRecorder, tmp_path: Path, made: Made
) -> None:
    registry, feed, summary, log = CollectorRegistry(), EventFeed(), SummarySubscriber(), io.StringIO()
    known = {"store": "get", "operation": "get", "direction": "read", "timestamp": 1.0, "outcome": "ok"}
    odd = {name: made() for name in ("store", "operation", "direction", "outcome", "timestamp")}

    with ExitStack() as stack:
        logs = LogSubscriber(logger=stack.enter_context(open_logger(log, format="console")))
        for subscriber in (MetricsSubscriber(registry=registry), feed, summary, RunSummary(tmp_path), logs):
            stack.enter_context(subscriber.connect(manager))
        for number, one in enumerate((known, odd, known, odd)):
            manager.emit(StoreProgressStartEvent(**one, operation_id=str(number)))
            manager.emit(StoreProgressStepEvent(**one, operation_id=str(number), step=1, delta=1))
            assert feed.view().current(("get",), 10)["in_flight_total"] in {0, 1}
            manager.emit(StoreProgressEndEvent(**one, operation_id=str(number), duration=1.0, bytes=1, delta=0))
            manager.emit(
                StoreTransactionEndEvent(
                    store=one["store"], transaction_id="1", outcome=one["outcome"], duration=1.0, operations=1, held=0
                )
            )

    assert sum(row.count for row in summary.operations) == 4
    assert len(log.getvalue().splitlines()) == 8
    assert feed.totals()["operations"] == 4
    assert sum(samples(registry, "transactions_total").values()) == 4
    assert recorder.of(ListenerErrorEvent) == []
