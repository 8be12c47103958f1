"""The contract of clients: nothing that is observed behaves differently, and observing leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreEvent
from tests.clients.contract.cases import DATA, Case
from tests.clients.contract.clients import point

NOBODYS = 2
"""The references to an object that only a function has: its variable, and the argument of `getrefcount`."""


def result_of(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns or raises, as something to compare."""
    try:
        result = call(*args)
    except Exception as error:
        chain = [type(one).__name__ for one in (error, error.__cause__, error.__context__)]
        return type(error), without_ids(error), without_ids(error.args), chain, pickled(error)
    return type(result), without_ids(result)


def without_ids(value: object) -> str:
    """Return the representation of a value without what differs from call to call."""
    return re.sub(r"0x[0-9a-f]+|'(ResponseMetadata|LastModified)': .*|[0-9A-F-]{16,}|\d{10,}", "", f"{value!r}{value}")


def pickled(value: object) -> object:
    """Return the pickle of a value, or the error; of an error with times and ids, what is unpickled."""
    try:
        data = pickle.dumps(value)
    except Exception as error:
        return type(error), without_ids(error)
    again = pickle.loads(data) if isinstance(value, Exception) else None
    return data if again is None else (type(again), without_ids(again))


def results(case: Case, client: Any, refused: Any) -> Iterator[Any]:
    """Yield what the calls of a client return and raise."""
    yield client, type(client), client.__class__, without_ids(client), pickled(client)
    yield result_of(case.call, case.get, client, "a")
    yield result_of(case.call, case.get, client, "zz")
    yield result_of(case.call, case.fail, refused)
    if "delete and list" not in case.inapplicable:
        yield result_of(case.call, case.keys, client)
        yield result_of(case.call, case.put, client, "b", DATA)
        yield result_of(case.call, case.delete, client, "b")


@point("unchanged")
def test_observed_client_returns_raises_pickles_and_prints_as_before(case: Case) -> None:
    client, refused = case.make(), case.make_refused()
    list(results(case, client, refused))  # what is made at the first call
    plain = list(results(case, client, refused))
    observed = list(results(case, case.observed(client), case.observed(refused)))

    assert observed[1:] == plain[1:]
    assert observed[0][2:] == plain[0][2:]
    assert type(client).__name__ == plain[0][1].__name__
    assert isinstance(client, plain[0][1])
    if not isinstance(plain[0][4], tuple):
        assert type(pickle.loads(pickle.dumps(client))) is plain[0][1]
        assert type(copy.copy(client)) is plain[0][1]


@point("observed twice")
def test_client_that_is_observed_twice_counts_once(case: Case, recorder: EventRecorder) -> None:
    client = case.observed(case.observed())
    case.call(case.get, client, "a")

    assert len(case.ends(recorder)) == 1


@point("no trace")
def test_client_that_is_unobserved_has_no_trace(case: Case, manager: EventManager, recorder: EventRecorder) -> None:
    client = case.make()
    case.call(case.get, client, "a")
    before = [snapshot(part) for part in case.parts(client)]
    assert observe(client, event_manager=manager) is client
    case.call(case.get, client, "a")
    assert unobserve(client) is client
    seen = len(recorder.events)
    assert case.call(case.get, client, "a") == DATA

    assert [snapshot(part) for part in case.parts(client)] == before
    assert len(recorder.events) == seen > 0


def snapshot(part: Any) -> tuple[Any, ...]:
    """Return the class of an object and its attributes; of those that libraries replace, only the names."""
    attributes = vars(part) if hasattr(part, "__dict__") else {}
    values = {name: id(value) for name, value in attributes.items() if not isinstance(value, int | float | tuple)}
    return type(part), id(type(part)), sorted(attributes), values


@point("failing subscriber")
@pytest.mark.usefixtures("every_step")
def test_failing_subscriber_never_reaches_the_client(case: Case, manager: EventManager) -> None:
    def fail(event: StoreEvent) -> None:
        seen.append(event)
        raise OSError(event)

    seen = list[object]()
    manager.connect(StoreEvent, fail)
    client, refused = case.make(), case.make_refused()
    list(results(case, client, refused))
    plain = list(results(case, client, refused))[1:]
    observe(client, event_manager=manager)
    observe(refused, event_manager=manager)
    observed = list(results(case, client, refused))[1:]
    unobserve(client)
    unobserve(refused)

    assert observed == plain
    assert seen


@point("nothing kept alive")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
def test_nothing_keeps_a_client_a_result_or_an_error_alive(case: Case, recorder: EventRecorder) -> None:
    gc.collect()
    gc.freeze()  # the many collections below consider the objects of this test alone
    plain, observed = case.make(), observe(case.make(), event_manager=case.manager)
    assert references(case, observed) == references(case, plain)
    alive: list[weakref.ref[Any]] = []
    refused = case.make_refused()
    errors = errors_kept(case, refused)  # by the client itself: the threads of an event loop keep some
    observe(refused, event_manager=case.manager)
    assert errors_kept(case, refused) <= errors
    if "collected unclosed" not in case.inapplicable:
        stream = case.call(case.begin, observed, "a")
        alive.append(weakref.ref(stream))
        case.call(case.close_stream, stream)
        del stream
    alive.append(weakref.ref(observed))
    case.close()
    del plain, observed, refused
    gc.collect()

    assert [reference() for reference in alive] == [None] * len(alive)
    assert case.ends(recorder)


def errors_kept(case: Case, client: Any) -> int:
    """Return how many errors more there are after three; those of Python's own have no weak references."""

    def count() -> int:
        gc.collect()
        return sum(type(one) is kind for one in gc.get_objects())

    kind = result_of(case.call, case.fail, client)[0]
    before = count()
    for _ in range(3):
        result_of(case.call, case.fail, client)
    return count() - before


def references(case: Case, client: Any) -> int:
    """Return the number of references to a result, once threads and cycles of an event loop have let go of it."""
    result = case.call(case.get, client, "a")
    fewest = sys.getrefcount(result)
    for _ in range(100):
        if fewest == NOBODYS:
            break
        gc.collect()
        time.sleep(0.001)
        fewest = min(fewest, sys.getrefcount(result))
    return fewest
