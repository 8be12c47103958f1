"""`observe()` and `unobserve()` for engines and for the whole library."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy
from sqlalchemy import Engine, create_engine, event, insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.clients import UnsupportedClientError
from encore_storage.events import StoreEvent, StoreTransactionEndEvent
from tests.clients.postgresql import PostgreSQL
from tests.clients.sqlalchemy.support import ORDERS, operations, transactions
from tests.forking import forked

ROOT = Path(__file__).parents[3]
READ = select(ORDERS)
ADD = insert(ORDERS).values(name="secret")
RAW_CONNECTION = Engine.raw_connection


@pytest.fixture(autouse=True)
def nothing_else_is_observed() -> Iterator[None]:
    gc.collect()  # engines of other tests
    yield
    unobserve(sqlalchemy)


def use(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("select 17"))


def test_observe_returns_the_engine(manager: EventManager) -> None:
    engine, asynchronous = create_engine("sqlite://"), create_async_engine("sqlite+aiosqlite://")

    assert observe(engine, event_manager=manager) is engine
    assert observe(asynchronous, event_manager=manager) is asynchronous
    unobserve(asynchronous)


@pytest.mark.parametrize("make", [lambda: create_engine("sqlite://").connect(), Session])
def test_other_objects_of_sqlalchemy_are_unsupported(make: Any) -> None:
    target = make()
    with pytest.raises(UnsupportedClientError, match="sqlalchemy"):
        observe(target)
    target.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite://", "sqlite:memory"),
        ("sqlite:///:memory:", "sqlite:memory"),
        ("sqlite:////home/secret/orders.db", "sqlite:orders.db"),
        ("sqlite:///file:secret/orders.db?uri=true", "sqlite:orders.db"),
        ("sqlite:///file:orders?mode=memory&uri=true", "sqlite:memory"),
        ("postgresql+psycopg://secret:secret@secret:17/orders?host=secret", "postgresql:orders"),
        ("postgresql+psycopg://secret:secret@secret", "postgresql"),
    ],
)
def test_store_has_the_name_of_the_database(
    url: str, name: str, manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = observe(create_engine(url, poolclass=NullPool), event_manager=manager)
    monkeypatch.setattr(vars(engine.dialect)["_encore_observed"].plain, "connect", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.connect()

    assert {event.store for event in recorder.of(StoreEvent)} == {name}
    assert {event.source.backend for event in recorder.of(StoreEvent)} == {engine.name}


def test_name_of_the_program_is_kept(manager: EventManager, recorder: EventRecorder) -> None:
    use(observe(create_engine("sqlite://"), name="orders", event_manager=manager))

    assert {event.store for event in recorder.of(StoreEvent)} == {"orders"}


def test_engine_that_is_observed_twice_counts_once(engine: Engine, manager: EventManager) -> None:
    other = EventManager()
    recorders = [EventRecorder(manager), EventRecorder(other)]
    for _ in range(3):
        observe(engine, event_manager=manager)
    observe(engine.execution_options(shard=1), event_manager=other)
    use(engine)

    assert [transactions(recorder) for recorder in recorders] == [[], ["committed"]]


def test_unobserve_leaves_no_trace(manager: EventManager, recorder: EventRecorder) -> None:
    engine = create_engine("sqlite://")
    use(engine)
    before = dict(vars(engine)), dict(vars(engine.dialect)), dict(vars(engine.pool))
    use(observe(engine, event_manager=manager))
    unobserve(engine)
    recorder.clear()
    use(engine)
    unobserve(engine)

    after = dict(vars(engine)), dict(vars(engine.dialect)), dict(vars(engine.pool))
    assert after == before
    assert Engine.raw_connection is RAW_CONNECTION
    assert recorder.events == []


def test_unobserve_restores_a_method_that_was_replaced_before(manager: EventManager, recorder: EventRecorder) -> None:
    engine = create_engine("sqlite://")
    calls = list[str]()
    plain = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        calls.append("commit")
        plain(connection)

    vars(engine.dialect)["do_commit"] = do_commit
    use(observe(engine, event_manager=manager))
    unobserve(engine)
    use(engine)

    assert (calls, engine.dialect.do_commit) == (["commit", "commit"], do_commit)
    assert transactions(recorder) == ["committed"]


def test_unobserve_in_a_transaction_waits_for_its_end(engine: Engine, recorder: EventRecorder) -> None:
    with engine.begin() as connection:
        connection.execute(ADD)
        unobserve(engine)
        connection.execute(READ)
        with engine.begin() as other:
            other.execute(text("select 17"))

    assert (transactions(recorder), [one.operation for one in operations(recorder)]) == (
        ["committed"],
        ["set", "query"],
    )
    assert not [name for name in vars(engine.dialect) if name.startswith("do_")]


def test_engine_is_observed_again_after_unobserve(
    engine: Engine, manager: EventManager, recorder: EventRecorder
) -> None:
    unobserve(engine)
    use(engine)
    observe(engine, event_manager=manager)
    use(engine)

    assert transactions(recorder) == ["committed"]


def test_library_observes_engines_made_before_and_after(
    url: str, manager: EventManager, recorder: EventRecorder
) -> None:
    before = create_engine(url)
    use(before)
    assert observe(sqlalchemy, event_manager=manager) is sqlalchemy
    after = create_engine(url)
    for engine in (before, after, after.execution_options(shard=1)):
        use(engine)
    assert transactions(recorder) == ["committed"] * 3
    unobserve(sqlalchemy)
    for engine in (before, after):
        use(engine)
        engine.dispose()

    assert transactions(recorder) == ["committed"] * 3
    assert Engine.raw_connection is RAW_CONNECTION


def test_engine_of_mocks_is_left_alone(manager: EventManager, recorder: EventRecorder) -> None:
    observe(sqlalchemy, event_manager=manager)
    engine = Engine(mock.Mock(), mock.Mock(), mock.Mock())
    engine.connect().close()

    assert recorder.events == []


def test_engine_keeps_its_own_options_beside_those_of_the_library(manager: EventManager) -> None:
    other = EventManager()
    recorders = [EventRecorder(manager), EventRecorder(other)]
    engine = observe(create_engine("sqlite://"), event_manager=manager)
    observe(sqlalchemy, event_manager=other)
    use(engine)
    unobserve(sqlalchemy)
    use(engine)
    unobserve(engine)

    assert [transactions(recorder) for recorder in recorders] == [["committed", "committed"], []]


def test_listeners_of_the_program_are_unaffected(engine: Engine, recorder: EventRecorder) -> None:
    seen = list[str]()
    for name in ("begin", "commit", "before_cursor_execute", "after_cursor_execute", "engine_connect"):
        event.listen(engine, name, lambda *_args, name=name: seen.append(name))
    use(engine)

    assert seen == ["engine_connect", "begin", "before_cursor_execute", "after_cursor_execute", "commit"]
    assert transactions(recorder) == ["committed"]


IMPORTED_LATER = """
from encore_events import get_event_manager
from encore_storage import observe
from encore_storage.events import StoreTransactionEndEvent
import sys

get_event_manager().connect(StoreTransactionEndEvent, lambda event: print(event.store, event.outcome, event.notes))
observe()
assert "sqlalchemy" not in sys.modules
from sqlalchemy import create_engine, text
with create_engine("sqlite://").begin() as connection:
    connection.execute(text("select 17"))
"""


def test_library_is_observed_once_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(IMPORTED_LATER)
    command = [sys.executable, "-W", "error", str(tmp_path / "program.py")]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.stdout, done.stderr) == ("sqlite:memory committed program.py:11\n", "")


def test_threads_and_tasks_are_counted_exactly(
    postgresql: PostgreSQL, connect: Any, recorder: EventRecorder, postgresql_url: str
) -> None:
    engine = connect(postgresql_url, pool_size=8)
    begun = commits_and_rollbacks(engine)

    def work(number: int) -> None:
        for task in range(100):
            with engine.connect() as connection:
                connection.execute(insert(ORDERS).values(name=f"secret {number} {task}"))
                if task % 4:
                    connection.commit()
                else:
                    connection.rollback()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()

    outcomes = transactions(recorder)
    assert (outcomes.count("committed"), outcomes.count("rolled_back"), len(outcomes)) == (600, 200, 800)
    assert [(one.operation, one.items) for one in operations(recorder)] == [("set", 1)] * 800
    assert rows(engine) == 600
    ended = recorder.of(StoreTransactionEndEvent)
    assert len({end.transaction_id for end in ended}) == 800
    commits, rollbacks = commits_and_rollbacks(engine)
    assert commits - begun[0] >= 600
    assert 200 <= rollbacks - begun[1] < 250  # each new connection, and this query, roll back once


def rows(engine: Engine) -> int:
    with create_engine(engine.url, poolclass=NullPool).connect() as connection:
        return len(connection.execute(READ).all())


def commits_and_rollbacks(engine: Engine) -> tuple[int, int]:
    """Return the server's own counts, which a connection reports when it is closed."""
    with create_engine(engine.url, poolclass=NullPool).connect() as connection:
        query = "select xact_commit, xact_rollback from pg_stat_database where datname = 'orders'"
        commits, rollbacks = connection.execute(text(query)).one()
    return commits, rollbacks


def test_forked_child_observes_on(url: str, connect: Any, recorder: EventRecorder) -> None:
    engine = connect(url)
    parent = engine.connect()
    parent.execute(ADD)
    before = len(recorder.events)

    def child() -> list[str]:
        recorder.clear()
        engine.dispose(close=False)
        with engine.connect() as connection:
            connection.execute(READ)
        return transactions(recorder)

    assert forked(child) == "['closed']"
    assert len(recorder.events) == before
    parent.rollback()
    parent.close()
    assert transactions(recorder) == ["rolled_back"]


def test_transaction_of_the_parent_is_not_ended_by_a_forked_child(sqlite: Engine, recorder: EventRecorder) -> None:
    connection = sqlite.connect()
    connection.execute(READ)

    def child() -> list[str]:
        recorder.clear()
        connection.rollback()
        return [type(event).__name__ for event in recorder.events]

    assert forked(child) == "[]"
    connection.close()
    assert transactions(recorder) == ["closed"]
