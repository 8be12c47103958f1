"""Transactions of SQLAlchemy, from begin to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent, StoreTransactionStartEvent
from tests.clients.sqlalchemy.support import ITEMS, ORDERS, Order, errors, last, operations, transactions

READ = select(ORDERS)
ADD = insert(ORDERS).values(name="secret")


class ProgramError(Exception):
    """An error of the program, whose text is its own."""


def rows(engine: Engine) -> int:
    with create_engine(engine.url, poolclass=NullPool).connect() as connection:
        return len(connection.execute(READ).all())


def test_begin_block_is_committed(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)
        connection.execute(READ)

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.outcome, end.state, end.operations, end.error, end.parent_id) == ("committed", "done", 2, None, None)
    assert end.commit_duration is not None
    assert end.duration >= end.commit_duration >= 0
    assert end.store == f"{engine.name}:{'orders.db' if engine.name == 'sqlite' else 'orders'}"
    ends = [end for end in recorder.of(StoreProgressEndEvent) if end.message != "CONNECT"]
    assert {one.transaction_id for one in ends} == {end.transaction_id}
    assert rows(engine) == 1


def test_connection_that_only_read_is_closed(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.execute(READ)

    assert transactions(recorder) == ["closed"]
    assert last(recorder).state == "done"


def test_connection_without_statements_has_no_transaction(engine: Engine, recorder: EventRecorder) -> None:
    engine.connect().close()

    assert transactions(recorder) == []


def test_write_that_was_not_committed_is_rolled_back(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.execute(ADD)

    assert transactions(recorder) == ["rolled_back"]
    assert (last(recorder).error, rows(engine)) == (None, 0)


def test_textual_write_is_a_write(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.execute(text("insert into orders_ (name) values (:name)"), {"name": "secret"})

    assert transactions(recorder) == ["rolled_back"]


def test_each_commit_and_rollback_of_a_connection_ends_a_transaction(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        connection.execute(ADD)
        connection.commit()
        connection.execute(READ)
        connection.rollback()
        connection.commit()
        connection.execute(insert(ORDERS).values(name="secret 2"))
        connection.rollback()

    assert transactions(recorder) == ["committed", "closed", "rolled_back"]
    assert rows(engine) == 1


@pytest.mark.parametrize("statement", [ADD, READ], ids=["wrote", "read"])
def test_error_of_the_program_is_the_cause_of_its_rollback(
    engine: Engine, recorder: EventRecorder, statement: Any
) -> None:
    with pytest.raises(ProgramError), engine.begin() as connection:
        connection.execute(statement)
        raise ProgramError("secret")

    assert transactions(recorder) == ["rolled_back"]
    assert errors(recorder) == [("ProgramError", None)]
    assert (str(last(recorder).error), rows(engine)) == ("ProgramError", 0)


def test_error_of_a_statement_is_the_cause_of_the_rollback(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(ADD)

    assert transactions(recorder) == ["committed", "rolled_back"]
    assert errors(recorder) == [
        ("IntegrityError", "SQLITE_CONSTRAINT_UNIQUE") if engine.name == "sqlite" else ("UniqueViolation", "23505")
    ]


def test_error_of_the_driver_is_the_cause_behind_one_of_the_program(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)

    def create() -> None:
        with engine.begin() as connection:
            try:
                connection.execute(ADD)
            except IntegrityError as error:
                raise ProgramError("secret") from error

    with pytest.raises(ProgramError):
        create()

    assert errors(recorder)[-1][0] in ("IntegrityError", "UniqueViolation")


def test_rollback_in_an_except_clause_has_its_error(engine: Engine, recorder: EventRecorder) -> None:
    connection = engine.connect()
    try:
        connection.execute(READ)
        raise ProgramError("secret")
    except ProgramError:
        connection.rollback()
    finally:
        connection.close()

    assert (transactions(recorder), errors(recorder)) == (["rolled_back"], [("ProgramError", None)])


def test_error_handled_before_the_begin_is_no_cause(engine: Engine, recorder: EventRecorder) -> None:
    try:
        raise ProgramError("secret")
    except ProgramError:
        with engine.connect() as connection:
            connection.execute(READ)

    assert transactions(recorder) == ["closed"]


def test_generator_that_is_closed_early_is_no_cause(engine: Engine, recorder: EventRecorder) -> None:
    def numbers() -> Any:
        with engine.connect() as connection:
            yield connection.execute(READ).all()

    generator = numbers()
    next(generator)
    generator.close()

    assert transactions(recorder) == ["closed"]


def test_failed_statement_makes_a_rollback_of_a_transaction_that_read(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(text("select secret from orders_nowhere"))

    assert transactions(recorder) == ["rolled_back"]
    assert errors(recorder)[0][1] in ("SQLITE_ERROR", "42P01")


def test_notes_are_the_line_that_began_the_transaction(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:  # this line
        connection.execute(READ)
    with engine.connect() as connection:
        connection.execute(READ)  # that line

    lines = [int(end.notes.rpartition(":")[2]) for end in recorder.of(StoreTransactionEndEvent) if end.notes]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert [source[line - 1].rpartition("#")[2] for line in lines] == [" this line", " that line"]
    assert {end.notes.partition(":")[0] for end in recorder.of(StoreTransactionEndEvent) if end.notes} == {
        "tests/clients/sqlalchemy/test_transactions.py"
    }
    starts = recorder.of(StoreTransactionStartEvent)
    assert [start.notes for start in starts] == [end.notes for end in recorder.of(StoreTransactionEndEvent)]


def test_notes_of_the_program_are_kept(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect().execution_options(encore_notes="nightly") as connection:
        connection.execute(READ)
        connection.commit()
    with Session(engine) as session:
        session.connection(execution_options={"encore_notes": "weekly"})

    assert [end.notes for end in recorder.of(StoreTransactionEndEvent)] == ["nightly", "weekly"]


def test_session_is_observed(engine: Engine, recorder: EventRecorder) -> None:
    with Session(engine) as session:
        session.add_all([Order(name="secret"), Order(name="secret 2")])
        session.commit()
        assert len(session.scalars(select(Order)).all()) == 2
    with pytest.raises(IntegrityError), Session(engine) as session, session.begin():
        session.add(Order(name="secret"))

    assert transactions(recorder) == ["committed", "closed", "rolled_back"]
    assert [(one.operation, one.outcome, one.items) for one in operations(recorder)] == [
        ("set", "ok", 2),
        ("query", "ok", None),
        ("set", "error", None),
    ]
    assert errors(recorder)[0][0] in ("IntegrityError", "UniqueViolation")


def test_savepoint_is_a_transaction_of_its_own(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)
        with connection.begin_nested():
            connection.execute(insert(ORDERS).values(name="secret 2"))
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(ADD)
        with pytest.raises(ProgramError), connection.begin_nested(), connection.begin_nested():
            raise ProgramError

    assert transactions(recorder) == ["committed", "rolled_back", "rolled_back", "rolled_back", "committed"]
    inner, failed, innermost, middle, outer = recorder.of(StoreTransactionEndEvent)
    assert {inner.parent_id, failed.parent_id, middle.parent_id} == {outer.transaction_id}
    assert (innermost.parent_id, outer.parent_id, outer.error) == (middle.transaction_id, None, None)
    assert [one.operations for one in (inner, failed, innermost, middle, outer)] == [1, 1, 0, 0, 1]
    assert [one.operation for one in operations(recorder)] == ["set", "set", "set"]
    assert rows(engine) == 2


def test_savepoint_that_only_read_is_closed(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        savepoint = connection.begin_nested()
        connection.execute(READ)
        savepoint.rollback()

    assert transactions(recorder) == ["closed", "closed"]


def test_write_in_a_released_savepoint_is_rolled_back_with_the_outer(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection, connection.begin_nested():
        connection.execute(ADD)

    assert transactions(recorder) == ["committed", "rolled_back"]


def test_write_that_a_savepoint_has_undone_is_none_of_the_outer(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect() as connection:
        savepoint = connection.begin_nested()
        connection.execute(ADD)
        savepoint.rollback()

    assert transactions(recorder) == ["rolled_back", "closed"]


@pytest.mark.parametrize("outcome", ["committed", "rolled_back"])
def test_open_savepoints_end_with_the_outer(engine: Engine, recorder: EventRecorder, outcome: str) -> None:
    with engine.connect() as connection:
        connection.begin_nested()
        connection.begin_nested()
        connection.execute(ADD)
        connection.commit() if outcome == "committed" else connection.rollback()

    assert transactions(recorder) == [outcome] * 3
    assert rows(engine) == (outcome == "committed")


def test_savepoints_of_a_session_are_observed(engine: Engine, recorder: EventRecorder) -> None:
    with Session(engine) as session, session.begin():
        with pytest.raises(ProgramError), session.begin_nested():
            session.add(Order(name="secret"))
            session.flush()
            raise ProgramError
        session.add(Order(name="secret"))

    assert transactions(recorder) == ["rolled_back", "committed"]
    assert rows(engine) == 1


def enforce_foreign_keys(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def switch_on(connection: Any, _record: object) -> None:
        if engine.name == "sqlite":
            connection.execute("PRAGMA foreign_keys=ON")


def test_commit_that_fails_is_commit_failed(engine: Engine, recorder: EventRecorder) -> None:
    enforce_foreign_keys(engine)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(ITEMS).values(order_id=17))

    end = recorder.one(StoreTransactionEndEvent)
    assert (end.outcome, end.state) == ("commit_failed", "failed")
    assert end.commit_duration is not None
    assert errors(recorder)[0][1] in ("SQLITE_CONSTRAINT_FOREIGNKEY", "23503")
    assert [one.outcome for one in operations(recorder)] == ["ok"]


def test_commit_that_postgresql_answers_with_a_rollback_is_rolled_back(
    postgres: Engine, recorder: EventRecorder
) -> None:
    with postgres.connect() as connection:
        connection.execute(ADD)
        with pytest.raises(IntegrityError):
            connection.execute(ADD)
        connection.commit()

    assert transactions(recorder) == ["rolled_back"]
    assert (errors(recorder), rows(postgres)) == ([("UniqueViolation", "23505")], 0)


def test_commit_after_an_error_that_sqlite_ignores_is_committed(sqlite: Engine, recorder: EventRecorder) -> None:
    with sqlite.connect() as connection:
        connection.execute(ADD)
        with pytest.raises(IntegrityError):
            connection.execute(ADD)
        connection.commit()

    assert (transactions(recorder), errors(recorder), rows(sqlite)) == (["committed"], [], 1)


def test_commit_after_a_savepoint_of_the_program_s_own_is_committed(postgres: Engine, recorder: EventRecorder) -> None:
    with postgres.begin() as connection:
        connection.execute(ADD)
        connection.execute(text("SAVEPOINT one"))
        with pytest.raises(IntegrityError):
            connection.execute(ADD)
        connection.execute(text("ROLLBACK TO SAVEPOINT one"))

    assert (transactions(recorder), rows(postgres)) == (["committed"], 1)


@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize("outcome", ["committed", "rolled_back"])
def test_two_phase_transaction_is_observed(
    postgres: Engine, recorder: EventRecorder, outcome: str, is_prepared: bool
) -> None:
    with postgres.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(ADD)
        if is_prepared:
            transaction.prepare()
        transaction.commit() if outcome == "committed" else transaction.rollback()
        connection.execute(READ)

    assert transactions(recorder) == [outcome, "closed"]
    assert [one.operation for one in operations(recorder)] == ["set", "query"]
    assert rows(postgres) == (outcome == "committed")


def test_two_phase_transaction_whose_prepare_fails_cannot_be_rolled_back(
    postgres: Engine, recorder: EventRecorder
) -> None:
    connection = postgres.connect()
    transaction = connection.begin_twophase()
    connection.execute(insert(ITEMS).values(order_id=17))
    with pytest.raises(IntegrityError):
        transaction.prepare()
    with pytest.raises(ProgrammingError):  # PostgreSQL has rolled back
        transaction.rollback()
    connection.close()

    assert (transactions(recorder), errors(recorder)) == (["rollback_failed"], [("UndefinedObject", "42704")])


def test_two_phase_session_is_observed(postgres: Engine, recorder: EventRecorder) -> None:
    with Session(postgres, twophase=True) as session:
        session.add(Order(name="secret"))
        session.commit()

    assert (transactions(recorder), rows(postgres)) == (["committed"], 1)


def test_recovered_transaction_is_no_transaction_of_its_connection(postgres: Engine, recorder: EventRecorder) -> None:
    with postgres.connect() as connection:
        transaction = connection.begin_twophase()
        connection.execute(ADD)
        transaction.prepare()
        xid = transaction.xid
        connection.invalidate()
    assert transactions(recorder) == ["rolled_back"]
    with postgres.connect() as connection:
        connection.commit_prepared(xid, recover=True)

    assert rows(postgres) == 1


@pytest.mark.parametrize("level", ["engine", "option engine", "connection"])
def test_autocommit_has_no_transactions(
    url: str, connect: Callable[..., Engine], recorder: EventRecorder, level: str
) -> None:
    engine = connect(url, isolation_level="AUTOCOMMIT") if level == "engine" else connect(url)
    used = engine.execution_options(isolation_level="AUTOCOMMIT") if level == "option engine" else engine
    with used.connect() as connection:
        if level == "connection":
            connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(ADD)
        connection.commit()
        connection.execute(READ)

    assert transactions(recorder) == []
    assert [one.operation for one in operations(recorder)] == ["set", "query"]
    assert rows(engine) == 1
    if level == "engine":
        return
    with engine.connect() as connection:  # the same DBAPI connection
        connection.execute(READ)
    assert transactions(recorder) == ["closed"]


def test_isolation_level_has_transactions(engine: Engine, recorder: EventRecorder) -> None:
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        connection.execute(ADD)
        connection.commit()

    assert transactions(recorder) == ["committed"]


def test_option_engine_counts_once(engine: Engine, recorder: EventRecorder, manager: EventManager) -> None:
    reader = engine.execution_options(shard="secret")
    with reader.begin() as connection:
        connection.execute(READ)

    assert (transactions(recorder), len(operations(recorder))) == (["committed"], 1)


def test_begin_statement_of_the_program_counts_as_a_statement(
    connect: Callable[..., Engine], recorder: EventRecorder, tmp_path: Path
) -> None:
    """SQLAlchemy's recipe for SQLite: its driver begins no transactions, and a listener executes BEGIN."""
    sqlite = connect(f"sqlite:///{tmp_path}/orders.db", connect_args={"timeout": 0.1})

    @event.listens_for(sqlite, "connect")
    def never_begin(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(sqlite, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with sqlite.begin() as connection:
        connection.execute(ADD)
    other = create_engine(sqlite.url, poolclass=NullPool).connect()
    other.exec_driver_sql("BEGIN IMMEDIATE")
    other.execute(READ)
    with pytest.raises(OperationalError), sqlite.execution_options().connect() as connection:
        connection.execute(ADD)
    other.close()

    assert transactions(recorder) == ["committed"]
    assert [(one.operation, one.error_type) for one in operations(recorder)] == [
        ("execute", None),
        ("set", None),
        ("execute", "timeout"),
    ]
