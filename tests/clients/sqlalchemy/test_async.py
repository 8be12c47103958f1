"""Async engines: tasks, sessions, cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreTransactionEndEvent
from tests.clients.sqlalchemy.support import METADATA, ORDERS, Order, errors, operations, transactions

READ = select(ORDERS)
ADD = insert(ORDERS).values(name="secret")
Connect = Callable[[], object]


class ProgramError(Exception):
    """An error of the program."""


@pytest.fixture
def opened(url: str, manager: EventManager) -> Callable[[], object]:
    """Return an observed async engine, for a block in a loop."""
    address = url.replace("sqlite:", "sqlite+aiosqlite:")
    plain = create_engine(url)
    METADATA.create_all(plain)
    with plain.begin() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    plain.dispose()

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncEngine]:
        engine = observe(create_async_engine(address), event_manager=manager)
        try:
            yield engine
        finally:
            unobserve(engine)
            await engine.dispose()

    return opened


def run(opened: Callable[[], object], work: Callable[[AsyncEngine], object]) -> None:
    async def main() -> None:
        async with opened() as engine:  # type: ignore[attr-defined]
            await work(engine)  # type: ignore[misc]

    asyncio.run(main())


def test_transactions_are_observed(opened: Connect, recorder: EventRecorder) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:  # here
            await connection.execute(ADD)
        async with engine.connect() as connection:
            await connection.execute(READ)
        with pytest.raises(IntegrityError):
            async with engine.begin() as connection:
                await connection.execute(ADD)
        with pytest.raises(ProgramError):
            async with engine.begin() as connection:
                await connection.execute(READ)
                raise ProgramError

    run(opened, work)

    assert transactions(recorder) == ["committed", "closed", "rolled_back", "rolled_back"]
    assert [one.operation for one in operations(recorder)] == ["set", "query", "set", "query"]
    assert errors(recorder)[0][0] in ("IntegrityError", "UniqueViolation")
    assert errors(recorder)[1] == ("ProgramError", None)
    file, _, line = str(recorder.of(StoreTransactionEndEvent)[0].notes).partition(":")
    assert file == "tests/clients/sqlalchemy/test_async.py"
    assert Path(__file__).read_text(encoding="utf-8").splitlines()[int(line) - 1].endswith("# here")


def test_sessions_are_observed(opened: Connect, recorder: EventRecorder) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session, session.begin():
            session.add(Order(name="secret"))
        async with AsyncSession(engine) as session:
            assert len((await session.scalars(select(Order))).all()) == 1
        with pytest.raises(ProgramError):
            async with AsyncSession(engine) as session, session.begin():
                async with session.begin_nested():
                    session.add(Order(name="secret 2"))
                raise ProgramError

    run(opened, work)

    assert transactions(recorder) == ["committed", "closed", "committed", "rolled_back"]
    assert errors(recorder) == [("ProgramError", None)]


def test_streamed_rows_are_observed(opened: Connect, recorder: EventRecorder) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(insert(ORDERS), [{"name": f"secret {number}"} for number in range(50)])
            result = await connection.stream(READ.execution_options(yield_per=10))
            assert len([row async for row in result]) == 50

    run(opened, work)

    assert [(one.operation, one.outcome, one.items) for one in operations(recorder)] == [
        ("set", "ok", 50),
        ("query", "ok", None),
    ]


def test_cancelled_task_is_cancelled_and_rolled_back(
    opened: Connect, recorder: EventRecorder, request: pytest.FixtureRequest
) -> None:
    slow = "SELECT pg_sleep(30)"
    if "sqlite" in request.node.name:
        slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < 3000000) SELECT count(*) FROM n"

    async def work(engine: AsyncEngine) -> None:
        async def one() -> None:
            async with engine.begin() as connection:
                await connection.execute(ADD)
                await connection.execute(text(slow))

        task = asyncio.ensure_future(one())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(opened, work)

    assert [(one.operation, one.outcome, one.error_type) for one in operations(recorder)] == [
        ("set", "ok", None),
        ("query", "cancelled", None),
    ]
    assert transactions(recorder) == ["rolled_back"]
    assert errors(recorder) == [("CancelledError", None)]


def test_tasks_are_counted_exactly(opened: Connect, recorder: EventRecorder) -> None:
    async def work(engine: AsyncEngine) -> None:
        async def one(number: int) -> None:
            async with engine.connect() as connection:
                await connection.execute(READ)
                if number % 4:
                    await connection.commit()

        await asyncio.gather(*(one(number) for number in range(100)))

    run(opened, work)

    outcomes = transactions(recorder)
    assert (outcomes.count("committed"), outcomes.count("closed"), len(outcomes)) == (75, 25, 100)
    assert len(operations(recorder)) == 100
    ids = {end.transaction_id for end in recorder.of(StoreTransactionEndEvent)}
    assert len(ids) == 100


def test_error_is_that_of_a_plain_engine(opened: Connect, recorder: EventRecorder) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError) as caught:
                await connection.execute(text("SELECT 17 FROM nowhere"))
            assert "nowhere" in str(caught.value)

    run(opened, work)

    assert [one.error_type for one in operations(recorder)] == ["invalid"]
