"""Statements of SQLAlchemy as operations: their names, items and errors."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, insert, inspect, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, QueuePool

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent
from tests.clients.sqlalchemy.support import ORDERS, Ended, Order, code_of, operations, transactions

MANY = [{"name": f"secret {number}"} for number in range(2500)]


@pytest.mark.parametrize(
    ("statement", "ended"),
    [
        (select(ORDERS), Ended("query", "ok")),
        (text(" -- a comment\n/* another */ select 'secret'"), Ended("query", "ok")),
        (text("VALUES (1)"), Ended("query", "ok")),
        (insert(ORDERS).values(name="secret"), Ended("set", "ok", 1)),
        (insert(ORDERS).values([{"name": "secret"}, {"name": "secret 3"}]), Ended("set", "ok", 2)),
        (text("insert into orders_ (name) values ('secret')"), Ended("set", "ok", 1)),
        (update(ORDERS).values(size=3), Ended("set", "ok", 2)),
        (update(ORDERS).values(size=3).where(ORDERS.c.size == 17), Ended("set", "ok", 0)),
        (delete(ORDERS), Ended("delete", "ok", 2)),
        (text("CREATE TABLE orders_more (id INTEGER)"), Ended("execute", "ok")),
    ],
    ids=str,
)
def test_statement_is_an_operation(engine: Engine, recorder: EventRecorder, statement: Any, ended: Ended) -> None:
    with engine.begin() as connection:
        connection.execute(insert(ORDERS), [{"name": "a"}, {"name": "b"}])
        recorder.clear()
        connection.execute(statement)
        ends = operations(recorder)
        connection.rollback()

    assert ends == [ended]
    end = recorder.one(StoreProgressEndEvent)
    assert (end.key, end.bytes, end.direction, end.message.isalpha()) == (None, 0, None, True)
    assert str(end.store).startswith(f"{engine.name}:orders")


def test_rows_of_statements_that_sqlite_does_not_count_are_unknown(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(insert(ORDERS).values(name="secret").returning(ORDERS.c.id))
        connection.execute(text("WITH big AS (SELECT id FROM orders_) DELETE FROM orders_"))

    rows = None if engine.name == "sqlite" else 1
    assert operations(recorder) == [Ended("set", "ok", rows), Ended("delete", "ok", rows)]


def test_end_of_a_query_is_the_end_of_execute(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(insert(ORDERS), MANY[:50])
        recorder.clear()
        result = connection.execution_options(yield_per=10).execute(select(ORDERS))
        assert operations(recorder) == [Ended("query", "ok")]
        assert len(result.all()) == 50

    assert operations(recorder) == [Ended("query", "ok")]


@pytest.mark.parametrize("returning", [False, True])
def test_rows_of_executemany_are_counted(engine: Engine, recorder: EventRecorder, returning: bool) -> None:
    statement = insert(ORDERS).returning(ORDERS.c.id, sort_by_parameter_order=True) if returning else insert(ORDERS)
    with engine.begin() as connection:
        result = connection.execute(statement, MANY)
        assert not returning or len(result.all()) == 2500
        connection.execute(
            update(ORDERS).where(ORDERS.c.name == text(":old")).values(size=1), [{"old": "secret 1"}] * 2
        )

    assert operations(recorder) == [Ended("set", "ok", 2500), Ended("set", "ok", 2)]


def test_executemany_that_fails_is_one_operation(engine: Engine, recorder: EventRecorder) -> None:
    statement = insert(ORDERS).returning(ORDERS.c.id)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(statement, [*MANY, MANY[0]])

    assert operations(recorder) == [Ended("set", "error", None, "conflict")]
    assert transactions(recorder) == ["rolled_back"]


def test_bulk_inserts_of_a_session_are_one_operation(engine: Engine, recorder: EventRecorder) -> None:
    with Session(engine) as session:
        session.add_all([Order(name=row["name"]) for row in MANY])
        session.commit()

    assert operations(recorder) == [Ended("set", "ok", 2500)]


def test_upsert_counts_its_rows(postgres: Engine, recorder: EventRecorder) -> None:
    statement = postgresql_insert(ORDERS).on_conflict_do_nothing()
    with postgres.begin() as connection:
        connection.execute(statement.values(name="secret"))
        connection.execute(statement.values(name="secret"))

    assert [one.items for one in operations(recorder)] == [1, 0]


def test_driver_statements_and_reflection_are_operations(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("select count(*) from orders_")
        assert "orders_" in inspect(connection).get_table_names()

    assert {one.operation for one in operations(recorder)} <= {"query", "execute"}
    assert transactions(recorder) == ["closed"]


def test_first_connection_emits_nothing_of_sqlalchemy_s_own(
    url: str, recorder: EventRecorder, manager: EventManager
) -> None:
    engine = observe(create_engine(url), event_manager=manager)
    engine.connect().close()

    assert [end.message for end in recorder.of(StoreProgressEndEvent)] == ["CONNECT"]
    assert (operations(recorder), transactions(recorder)) == ([], [])
    engine.dispose()


POSTGRESQL_ERRORS = {
    "INSERT INTO orders_ (name) VALUES (NULL)": ("conflict", "NotNullViolation", "23502"),
    "SELECT secret FROM orders_nowhere": ("invalid", "UndefinedTable", "42P01"),
    "SELEC 1": ("invalid", "SyntaxError", "42601"),
    "SELECT 1/0": ("invalid", "DivisionByZero", "22012"),
    "SELECT pg_sleep(10)": ("timeout", "QueryCanceled", "57014"),
    "SET ROLE orders_reader; SELECT * FROM orders_": ("permission_denied", "InsufficientPrivilege", "42501"),
    "SET TRANSACTION READ ONLY; DELETE FROM orders_": ("read_only", "ReadOnlySqlTransaction", "25006"),
    "SELECT pg_terminate_backend(pg_backend_pid())": ("connection", "AdminShutdown", "57P01"),
    "LOCK orders_ NOWAIT": ("timeout", "LockNotAvailable", "55P03"),
    "COPY orders_ FROM '/orders_nowhere'": ("other", "UndefinedFile", "58P01"),
}


@pytest.mark.parametrize(("statement", "expected"), POSTGRESQL_ERRORS.items(), ids=str)
def test_error_of_postgresql_has_its_type_and_code(
    postgres: Engine, recorder: EventRecorder, statement: str, expected: tuple[str, str, str]
) -> None:
    with create_engine(postgres.url, poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS orders_reader")
        connection.exec_driver_sql("CREATE ROLE orders_reader")
    with create_engine(postgres.url, poolclass=NullPool).begin() as blocking:
        if statement.startswith("LOCK"):
            blocking.exec_driver_sql("LOCK orders_")
        with pytest.raises(DBAPIError), postgres.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 300")
            connection.exec_driver_sql(statement)

    end = recorder.of(StoreProgressEndEvent)[-1]
    assert (end.outcome, end.error_type, type(end.error).__name__, code_of(end)) == ("error", *expected)
    assert str(end.error) == f"{expected[1]} {expected[2]}"
    assert transactions(recorder) == ["rolled_back"]


def test_serialization_failure_is_a_conflict(postgres: Engine, recorder: EventRecorder) -> None:
    with postgres.begin() as connection:
        connection.execute(insert(ORDERS).values(name="secret"))
    isolated = postgres.execution_options(isolation_level="REPEATABLE READ")
    with isolated.connect() as one, isolated.connect() as other:
        for connection in (one, other):
            connection.execute(select(ORDERS))
        one.execute(update(ORDERS).values(size=1))
        one.commit()
        with pytest.raises(OperationalError):
            other.execute(update(ORDERS).values(size=2))

    assert operations(recorder)[-1].error_type == "conflict"
    assert transactions(recorder) == ["committed", "committed", "rolled_back"]


def test_error_of_sqlite_has_its_type_and_code(sqlite: Engine, recorder: EventRecorder, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text of some length" * 100)
    statements = {
        "SELECT secret FROM orders_nowhere": "invalid",
        "INSERT INTO orders_ (name) VALUES (NULL)": "conflict",
        f"ATTACH '{tmp_path}/text.db' AS other": "integrity",
        f"ATTACH '{tmp_path}/nowhere/secret.db' AS other": "connection",
        "PRAGMA query_only=ON; -- x": None,
        "DELETE FROM orders_": "read_only",
    }
    for statement in statements:
        with sqlite.connect() as connection:
            try:
                connection.exec_driver_sql(statement)
            except DBAPIError:
                continue

    assert [one.error_type for one in operations(recorder)] == list(statements.values())


def test_error_of_parameters_is_invalid(sqlite: Engine, recorder: EventRecorder) -> None:
    with sqlite.connect() as connection, pytest.raises(StatementError):
        connection.exec_driver_sql("SELECT ?", (object(),))

    end = recorder.of(StoreProgressEndEvent)[-1]
    assert (end.error_type, str(end.error)) == ("invalid", "ProgrammingError")


def test_text_of_errors_is_in_events_on_request(url: str) -> None:
    manager = EventManager()
    recorder = EventRecorder(manager)
    engine = observe(create_engine(url), event_manager=manager, error_text=True)
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.exec_driver_sql("SELECT x FROM nowhere")

    assert str(recorder.of(StoreProgressEndEvent)[-1].error) == str(caught.value.orig)
    engine.dispose()


@pytest.mark.parametrize("path", ["/nowhere/orders.db", "postgresql"])
def test_connection_that_is_refused_is_an_operation(manager: EventManager, recorder: EventRecorder, path: str) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://secret:secret@127.0.0.1:1/orders" if path == "postgresql" else f"sqlite:///{path}"
    plain = create_engine(url)
    with pytest.raises(OperationalError) as expected:
        plain.connect()
    with pytest.raises(OperationalError) as caught:
        observe(create_engine(url), event_manager=manager).connect()

    assert (str(caught.value), caught.value.args) == (str(expected.value), expected.value.args)
    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.outcome, end.error_type) == ("execute", "error", "connection")


def test_timeout_of_the_pool_is_an_operation_as_long_as_the_wait(
    connect: Callable[..., Engine], recorder: EventRecorder, tmp_path: Path
) -> None:
    engine = connect(
        f"sqlite:///{tmp_path}/orders.db", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.2
    )
    with engine.connect(), pytest.raises(Exception, match="QueuePool limit"):
        engine.connect()

    end = recorder.of(StoreProgressEndEvent)[-1]
    assert (end.message, end.outcome, end.error_type) == ("TimeoutError", "error", "timeout")
    assert 0.2 <= end.duration < 5


def test_results_and_errors_are_those_of_a_plain_engine(engine: Engine, url: str) -> None:
    plain = create_engine(url, poolclass=NullPool)

    def use(engine: Engine) -> list[object]:
        seen: list[object] = []
        with engine.connect() as connection:
            result = connection.execute(insert(ORDERS).values(name="secret", id=7))
            seen += [type(result), result.rowcount, result.inserted_primary_key]
            rows = connection.execute(select(ORDERS)).all()
            seen += [rows, type(rows[0]), repr(connection.info), type(connection), type(connection.connection)]
            with pytest.raises(IntegrityError) as caught:
                connection.execute(insert(ORDERS).values(name="secret", id=7))
            error = caught.value
            seen += [
                str(error),
                error.args,
                type(error.orig),
                error.statement,
                error.params,
                error.connection_invalidated,
            ]
            seen += [error.__context__ is error.orig, repr(error)]
        return seen

    assert [str(one) for one in use(engine)] == [str(one) for one in use(plain)]
    assert repr(engine) == repr(plain)
    assert type(engine.dialect) is type(plain.dialect)


def test_no_listeners_cost_no_events(url: str) -> None:
    engine = observe(create_engine(url), event_manager=EventManager())
    with engine.begin() as connection:
        assert connection.execute(text("select 17")).scalar() == 17
    engine.dispose()


def test_nothing_keeps_a_result_or_an_error_alive(engine: Engine, recorder: EventRecorder) -> None:
    class KeptError(Exception):
        pass

    with engine.connect() as connection:
        alive: list[Any] = [weakref.ref(connection.execute(select(ORDERS)).context), weakref.ref(connection)]
    del connection
    try:
        with engine.begin() as connection:
            raise KeptError
    except KeptError as error:
        alive += [weakref.ref(error), weakref.ref(connection)]
    del connection
    gc.collect()

    assert [reference() for reference in alive] == [None] * 4


def test_nothing_keeps_an_engine_alive(manager: EventManager) -> None:
    engine = observe(create_engine("sqlite://"), event_manager=manager)
    engine.connect().close()
    engine.dispose()
    alive: list[Any] = [weakref.ref(engine), weakref.ref(engine.dialect), weakref.ref(engine.pool)]
    del engine
    gc.collect()

    assert [reference() for reference in alive] == [None] * 3


def test_operation_starts_before_the_statement(sqlite: Engine, recorder: EventRecorder) -> None:
    seen = list[int]()
    with sqlite.connect() as connection:
        connection.connection.create_function("seen", 0, lambda: seen.append(len(recorder.of(StoreProgressStartEvent))))
        connection.exec_driver_sql("select seen()")

    assert seen == [2]
