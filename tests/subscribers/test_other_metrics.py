"""Metrics of transactions, key changes and the bus."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EventManager, EventsDroppedEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers.catalogue import TRANSACTION_OUTCOMES
from tests.subscribers.support import sample, samples

pytestmark = pytest.mark.usefixtures("metrics")


class Failing:
    """A listener that raises."""

    def __call__(self, event: BaseEvent) -> None:
        raise ZeroDivisionError

    def listen(self, event: BaseEvent) -> None:
        raise ZeroDivisionError


def fail(event: BaseEvent) -> None:
    raise ZeroDivisionError


def test_outcomes_exist_at_zero_once_a_transaction_has_begun(
    registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    with store.transaction():
        outcomes = samples(registry, "transactions_total")

    assert outcomes == {("archive", outcome): 0 for outcome in TRANSACTION_OUTCOMES}


def test_transaction_is_in_progress_until_it_ends(registry: CollectorRegistry, store: DictMemoryStore) -> None:
    with store.transaction():
        assert sample(registry, "transactions_in_progress", store="archive") == 1

    assert sample(registry, "transactions_in_progress", store="archive") == 0


def test_rollback_observes_the_number_of_operations(registry: CollectorRegistry, store: DictMemoryStore) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"2")
        raise KeyboardInterrupt

    assert sample(registry, "transaction_operations_sum", store="archive", outcome="rolled_back") == 2
    assert samples(registry, "key_changes_total") == {}


def test_key_changes_count_once_committed(registry: CollectorRegistry, store: DictMemoryStore) -> None:
    with store.transaction():
        store.from_bytes("a", b"1")
        store.from_bytes("a", b"2")
        assert samples(registry, "key_changes_total") == {}
    store.delete("a")

    actions = {("archive", "set"): 1, ("archive", "update"): 1, ("archive", "delete"): 1}
    assert samples(registry, "key_changes_total") == actions


@pytest.mark.parametrize(
    ("listener", "name"),
    [
        (fail, "fail"),
        (Failing(), "Failing"),
        (Failing().listen, "Failing.listen"),
        (functools.partial(functools.partial(fail)), "fail"),
    ],
    ids=["function", "object", "method", "partial"],
)
def test_failing_listener_is_counted_by_name(
    manager: EventManager, registry: CollectorRegistry, listener: Callable[[BaseEvent], None], name: str
) -> None:
    manager.connect(BaseEvent, listener, weak=False)

    manager.emit(BaseEvent())

    labels = {"event": "BaseEvent", "listener": f"{__name__}.{name}"}
    assert registry.get_sample_value("encore_events_listener_errors_total", labels) == 1


def test_dropped_events_are_counted_by_queue_and_reason(manager: EventManager, registry: CollectorRegistry) -> None:
    manager.emit(EventsDroppedEvent(queue="worker", reason="exit", count=2))
    manager.emit(EventsDroppedEvent(queue="worker", reason="exit", count=3))

    labels = {"queue": "worker", "reason": "exit"}
    assert registry.get_sample_value("encore_events_dropped_total", labels) == 5
