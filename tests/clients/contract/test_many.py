"""The contract of clients: transactions, threads, tasks and forked children."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent, StoreTransactionStartEvent
from tests.clients.contract.cases import DATA, POINTS, Case
from tests.clients.contract.clients import CASES, point, table
from tests.clients.contract.databases import Database, PostgreSql
from tests.forking import forked

THREADS, TASKS, PUTS = 8, 100, 20
"""The threads, the tasks of each, and how many of these store a value."""


class ProgramError(Exception):
    """An error of the program."""


def outcomes(case: Case, recorder: EventRecorder) -> Counter[str]:
    """Return the numbers of transactions by outcome; each has one start."""
    starts = Counter(event.transaction_id for event in recorder.of(StoreTransactionStartEvent))
    ends = recorder.of(StoreTransactionEndEvent)
    assert starts == Counter(end.transaction_id for end in ends)
    assert set(starts.values()) <= {1}
    return Counter(end.outcome for end in ends if end.store == case.transaction_store)


def use_transactions(case: Case, client: Any) -> Counter[str]:
    """Commit 5 transactions, roll 3 back, read in 2; return the numbers by outcome."""
    expected = Counter(committed=5, rolled_back=3)
    for number in range(5):
        case.call(case.commit, client, f"committed-{number}")
    for number in range(3):
        with pytest.raises(Exception):  # noqa: B017, PT011 (the program's, or that of a false condition)
            case.call(case.commit, client, f"rolled-back-{number}", ProgramError())
    if type(case).read_in_transaction is not Case.read_in_transaction:
        for _ in range(2):
            case.call(case.read_in_transaction, client)
        expected["closed"] = 2
    return expected


@point("transactions")
def test_transactions_are_exact(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    expected = use_transactions(case, client)

    assert outcomes(case, recorder) == expected
    assert [case.stored(f"committed-{number}") for number in range(5)] == [DATA] * 5
    assert [case.stored(f"rolled-back-{number}") for number in range(3)] == [None] * 3
    changed = [event.key for event in recorder.of(StoreModificationEvent) if event.store == case.store]
    assert changed == ([case.key(f"committed-{number}") for number in range(5)] if case.has_bytes else [])
    assert case.ends(recorder)


@point("transactions of the server")
def test_transactions_are_those_that_the_server_counts(case: PostgreSql, recorder: EventRecorder) -> None:
    def counted(client: Any, work: Any) -> tuple[int, int]:
        commits, rollbacks = case.xacts()
        work(client)
        case.call(client.dispose)
        more = case.xacts()
        return more[0] - commits, more[1] - rollbacks

    client = case.observed()
    case.call(case.get, client, "a")  # SQLAlchemy asks the first connection for properties of the database
    case.call(client.dispose)
    connecting = counted(client, lambda client: case.call(connect, case, client))
    recorder.clear()
    commits, rollbacks = counted(client, lambda client: use_transactions(case, client))

    found = outcomes(case, recorder)
    assert commits - connecting[0] == found["committed"] == 5
    assert rollbacks - connecting[1] == found["rolled_back"] + found["closed"] == 5


def connect(case: Case, client: Any) -> Any:
    """Connect, without a transaction."""

    async def connect_async() -> None:
        async with client.connect():
            pass

    if case.is_async:
        return connect_async()
    return client.connect().close()


@point("threads or tasks")
def test_threads_or_tasks_are_counted_exactly(case: Case, recorder: EventRecorder) -> None:
    values = [DATA[: 1000 + number] for number in range(THREADS)]
    for number, data in enumerate(values):
        case.put_outside(f"value-{number}", data)
    client = case.observed(case.make_for_load())
    puts = 0 if case.is_read_only else PUTS
    got: list[bytes] = []

    def work(number: int) -> None:
        for index in range(puts):
            case.put(client, f"new-{number}-{index}", values[number])
        got.extend(case.get(client, f"value-{number}") for _ in range(TASKS - puts))

    async def put(number: int, index: int) -> None:
        await case.put(client, f"new-{number}-{index}", values[number])

    async def get(number: int) -> None:
        got.append(await case.get(client, f"value-{number}"))

    async def tasks() -> None:
        numbers = range(THREADS)
        writing = [put(number, index) for index in range(puts) for number in numbers]
        await asyncio.gather(*writing, *(get(number) for _ in range(TASKS - puts) for number in numbers))

    if case.is_async:
        case.call(tasks)
    else:
        in_threads(work)

    gets = TASKS - puts
    assert Counter(got) == dict.fromkeys(values, gets)
    expected = {case.operations["get"]: gets * THREADS, case.operations["put"]: puts * THREADS}
    ends = case.ends(recorder)
    assert Counter(end.operation for end in ends) == Counter(expected)
    assert {(end.outcome, end.attempts) for end in ends} == {("ok", 1)}
    assert [case.stored(f"new-{number}-{index}") for number in range(THREADS) for index in (0, puts - 1) if puts] == [
        data for data in values for _ in range(2 * bool(puts))
    ]
    if case.has_bytes:
        sizes = Counter((end.operation, end.bytes) for end in ends)
        counts = (("get", gets), ("put", puts))
        moved = {(case.operations[name], len(data)): count for name, count in counts for data in values}
        assert sizes == Counter(moved)
        changed = [event for event in recorder.of(StoreModificationEvent) if event.store == case.store]
        assert len({event.key for event in changed}) == len(changed) == puts * THREADS
    if isinstance(case, Database):
        assert outcomes(case, recorder) == {"closed": gets * THREADS, "committed": puts * THREADS}


def in_threads(work: Callable[[int], None]) -> None:
    """Call `work` with the number of each thread."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@point("forked child")
def test_forked_child_observes_on(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    case.call(case.get, client, "a")

    def child() -> object:
        recorder.clear()
        used = case.in_child(client)
        size = len(case.call(case.get, used, "a"))
        return size, [(end.operation, end.outcome, end.bytes) for end in case.ends(recorder)]

    size = len(DATA) if case.has_bytes else 0
    assert forked(child) == repr((len(DATA), [(case.operations["get"], "ok", size)]))
    case.call(case.get, client, "a")
    assert len(case.ends(recorder)) == 2


def test_points_that_cannot_apply_are_points_with_a_reason() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert set(case.inapplicable) <= set(POINTS)
        assert all(reason.strip() for reason in case.inapplicable.values())
    assert table().count("\n") == len(CASES) + 1
