"""Connections that are lost, invalidated, collected, pooled and reset."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from tests.clients.sqlalchemy.support import ORDERS, Ended, errors, last, operations, transactions
from tests.storage.support import settled

READ = select(ORDERS)
ADD = insert(ORDERS).values(name="secret")


def kill(connection: Connection) -> None:
    """End the server's process of a connection."""
    number = connection.connection.info["pid"]
    with create_engine(connection.engine.url, poolclass=NullPool).connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})


@pytest.fixture
def killable(postgres: Engine) -> Engine:
    """An engine whose connections know their process."""

    @event.listens_for(postgres, "connect")
    def connected(connection: Any, record: Any) -> None:
        record.info["pid"] = connection.info.backend_pid

    return postgres


def test_connection_that_is_lost_in_a_transaction_rolls_it_back(killable: Engine, recorder: EventRecorder) -> None:
    with pytest.raises(OperationalError) as caught, killable.begin() as connection:
        connection.execute(ADD)
        kill(connection)
        connection.execute(READ)

    assert caught.value.connection_invalidated
    assert operations(recorder) == [Ended("set", "ok", 1), Ended("query", "error", None, "connection")]
    assert transactions(recorder) == ["rolled_back"]
    assert errors(recorder) == [("AdminShutdown", "57P01")]


def test_commit_on_a_lost_connection_fails(killable: Engine, recorder: EventRecorder) -> None:
    with pytest.raises(DBAPIError), killable.begin() as connection:
        connection.execute(ADD)
        kill(connection)

    assert transactions(recorder) == ["commit_failed"]
    assert errors(recorder) == [("AdminShutdown", "57P01")]


def test_rollback_on_a_lost_connection_fails(killable: Engine, recorder: EventRecorder) -> None:
    connection = killable.connect()
    connection.execute(ADD)
    kill(connection)
    with pytest.raises(DBAPIError):
        connection.rollback()
    connection.close()

    assert transactions(recorder) == ["rollback_failed"]


def test_connection_that_is_lost_in_a_savepoint_ends_both(killable: Engine, recorder: EventRecorder) -> None:
    with pytest.raises(DBAPIError), killable.begin() as connection, connection.begin_nested():
        connection.execute(ADD)
        kill(connection)
        connection.execute(READ)

    assert transactions(recorder) == ["rolled_back", "rolled_back"]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <function ServerCursorMixin")  # as in a plain engine
def test_connection_that_is_lost_while_rows_are_fetched_rolls_back(killable: Engine, recorder: EventRecorder) -> None:
    with pytest.raises(DBAPIError), killable.connect() as connection:
        numbers = text("SELECT generate_series(1, 100000)")
        result = connection.execution_options(yield_per=10).execute(numbers)
        kill(connection)
        result.all()
    del result
    gc.collect()

    assert [one.outcome for one in operations(recorder)] == ["ok"]
    assert (transactions(recorder), errors(recorder)) == (["rolled_back"], [("AdminShutdown", "57P01")])


def test_pre_ping_emits_nothing_but_a_new_connection(
    connect: Callable[..., Engine], postgresql_url: str, recorder: EventRecorder
) -> None:
    engine = connect(postgresql_url, pool_pre_ping=True)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        record.info["pid"] = connection.info.backend_pid

    with engine.connect() as connection:
        kill(connection)
        connection.connection.info["pid"] = None
    recorder.clear()
    with engine.connect() as connection:
        connection.execute(READ)

    assert [(end.message, end.outcome) for end in recorder.of(StoreProgressEndEvent)] == [
        ("CONNECT", "ok"),
        ("SELECT", "ok"),
    ]
    assert transactions(recorder) == ["closed"]


@pytest.mark.parametrize("statement", [ADD, READ], ids=["wrote", "read"])
def test_invalidated_connection_ends_its_transaction(engine: Engine, recorder: EventRecorder, statement: Any) -> None:
    with engine.connect() as connection:
        connection.execute(statement)
        connection.invalidate()

        assert transactions(recorder) == ["rolled_back" if statement is ADD else "closed"]
        connection.rollback()
        connection.execute(READ)

    assert transactions(recorder)[1:] == ["closed"]


def test_connection_that_is_collected_rolls_back(engine: Engine, recorder: EventRecorder) -> None:
    connection = engine.connect()
    connection.execute(ADD)
    del connection
    gc.collect()
    settled()

    assert transactions(recorder) == ["rolled_back"]
    assert type(last(recorder).error).__name__ == "CancelledError"
    with engine.connect() as connection:
        assert connection.execute(READ).all() == []


def test_session_that_is_collected_rolls_back(engine: Engine, recorder: EventRecorder) -> None:
    session = Session(engine)
    session.execute(ADD)
    del session
    gc.collect()
    settled()

    assert transactions(recorder) == ["rolled_back"]


def test_raw_connection_is_not_observed(sqlite: Engine, recorder: EventRecorder) -> None:
    raw = sqlite.raw_connection()
    raw.cursor().execute("select 17")
    raw.commit()
    raw.close()

    assert (operations(recorder), transactions(recorder)) == ([], [])


def test_detached_connection_is_observed(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.detach()
        connection.execute(ADD)
        connection.commit()

    assert transactions(recorder) == ["committed"]


def test_engine_is_observed_after_dispose(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)
    engine.dispose()
    with engine.connect() as connection:
        connection.execute(READ)

    assert transactions(recorder) == ["committed", "closed"]


def test_interrupt_cancels_the_statement_and_rolls_back(sqlite: Engine, recorder: EventRecorder) -> None:
    @event.listens_for(sqlite, "before_cursor_execute", retval=True)
    def replace(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> Any:
        return statement, Interrupting(parameters)

    with pytest.raises(KeyboardInterrupt), sqlite.connect() as connection:
        connection.exec_driver_sql("select ?", (1,))

    assert operations(recorder) == [Ended("query", "cancelled")]
    assert (transactions(recorder), errors(recorder)) == (["rolled_back"], [("KeyboardInterrupt", None)])


class Interrupting(tuple[Any, ...]):
    """Parameters that are interrupted as the driver reads them."""

    __slots__ = ()

    def __getitem__(self, at: Any) -> Any:
        raise KeyboardInterrupt


def test_locked_database_is_a_timeout(sqlite: Engine, recorder: EventRecorder) -> None:
    other = create_engine(sqlite.url, poolclass=NullPool)
    with other.connect() as blocking:
        blocking.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(OperationalError), sqlite.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=50")
            connection.execute(READ)

    assert operations(recorder)[-1] == Ended("query", "error", None, "timeout")
    assert recorder.one(StoreTransactionEndEvent).outcome == "rolled_back"
