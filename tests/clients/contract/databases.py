"""The cases of SQLAlchemy's engines."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy import Column, Engine, LargeBinary, MetaData, Table, Text, create_engine, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressStartEvent
from tests.clients.contract.cases import DATA, AsyncCase, Case, Operations
from tests.clients.postgresql import PostgreSQL

METADATA = MetaData()
VALUES = Table("contract_values", METADATA, Column("key", Text, primary_key=True), Column("value", LargeBinary))

OF_AN_ENGINE = {
    "miss": "a query without rows is no miss: SQL has no keys",
    "early close": "a SELECT ends when `execute` returns",
    "collected unclosed": "a SELECT ends when `execute` returns; its transaction is collected in test_connections",
    "retries": "SQLAlchemy does not retry",
}
OF_SQLITE = {
    "reset in mid-body": "SQLite has no connection",
    "server killed": "SQLite has no server",
    "transactions of the server": "SQLite counts none; its rows are the point before",
}


def added(key: str, data: bytes) -> Any:
    """Return the statement that stores a value."""
    return insert(VALUES).values(key=key, value=data)


def chosen(key: str) -> Any:
    """Return the statement that gets a value."""
    return select(VALUES.c.value).where(VALUES.c.key == key)


class Database(Case):
    """An engine of a new database, with a table of values."""

    operations: ClassVar[Operations] = {"get": "query", "put": "set", "delete": "delete", "list": "query"}
    has_bytes = False
    error_type = "conflict"
    drivers: tuple[str, str]
    connect_args: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, request: pytest.FixtureRequest, manager: EventManager) -> None:
        super().__init__(request, manager)
        self.database = f"values_{uuid.uuid4().hex[:8]}"
        self.create()
        engine = create_engine(self.url(), poolclass=NullPool)
        METADATA.create_all(engine)

    @property
    def store(self) -> str:
        return f"{self.drivers[0]}:{self.database}"

    def create(self) -> None:
        """Create the database."""

    def url(self, driver: str = "") -> str:
        """Return the address of the database."""
        raise NotImplementedError

    def key(self, key: str) -> str | None:
        return None

    def make(self) -> Any:
        engine = create_engine(self.url(), pool_size=8, connect_args=dict(self.connect_args))
        self._closing.callback(self._dispose, engine, os.getpid())
        return engine

    @staticmethod
    def _dispose(engine: Engine, process: int) -> None:
        if process == os.getpid():
            engine.dispose()

    def put(self, client: Any, key: str, data: bytes) -> Any:
        with client.begin() as connection:
            connection.execute(added(key, data))

    def get(self, client: Any, key: str) -> Any:
        with client.connect() as connection:
            return bytes(connection.execute(chosen(key)).scalar_one())

    def delete(self, client: Any, key: str) -> Any:
        with client.begin() as connection:
            connection.execute(delete(VALUES).where(VALUES.c.key == key))

    def keys(self, client: Any) -> Any:
        with client.connect() as connection:
            return connection.execute(select(VALUES.c.key)).scalars().all()

    def fail(self, client: Any) -> Any:
        return self.put(client, "a", b"")

    def put_outside(self, key: str, data: bytes) -> None:
        with create_engine(self.url(), poolclass=NullPool).begin() as connection:
            connection.execute(added(key, data))

    def parts(self, client: Any) -> Iterator[Any]:
        yield from (client, client.dialect, client.pool, Engine, type(client.dialect), client.dispatch)

    def in_child(self, client: Any) -> Any:
        client.dispose(close=False)
        return client

    def commit(self, client: Any, key: str, error: BaseException | None = None) -> Any:
        with client.begin() as connection:
            connection.execute(added(key, DATA))
            if error is not None:
                raise error

    def read_in_transaction(self, client: Any) -> Any:
        return self.keys(client)


class AsyncDatabase(AsyncCase, Database):
    """An async engine."""

    def make(self) -> Any:
        engine = create_async_engine(self.url(self.drivers[1]), pool_size=8, connect_args=dict(self.connect_args))
        self._closing.callback(self._dispose_async, engine, os.getpid())
        return engine

    def _dispose_async(self, engine: AsyncEngine, process: int) -> None:
        if process == os.getpid():
            self.call(engine.dispose)

    async def put(self, client: Any, key: str, data: bytes) -> Any:
        async with client.begin() as connection:
            await connection.execute(added(key, data))

    async def get(self, client: Any, key: str) -> Any:
        async with client.connect() as connection:
            return bytes((await connection.execute(chosen(key))).scalar_one())

    async def delete(self, client: Any, key: str) -> Any:
        async with client.begin() as connection:
            await connection.execute(delete(VALUES).where(VALUES.c.key == key))

    async def keys(self, client: Any) -> Any:
        async with client.connect() as connection:
            return (await connection.execute(select(VALUES.c.key))).scalars().all()

    async def commit(self, client: Any, key: str, error: BaseException | None = None) -> Any:
        async with client.begin() as connection:
            await connection.execute(added(key, DATA))
            if error is not None:
                raise error

    def parts(self, client: Any) -> Iterator[Any]:
        yield from (client, *super().parts(client.sync_engine))

    def in_child(self, client: Any) -> Any:
        super().in_child(client.sync_engine)
        return client


class Sqlite(Database):
    """An engine of SQLite."""

    name = "SQLAlchemy SQLite"
    drivers = ("sqlite", "sqlite+aiosqlite")
    inapplicable: ClassVar[Mapping[str, str]] = {
        **OF_AN_ENGINE,
        **OF_SQLITE,
        "cancelled": "sqlite3 is only interrupted after a statement",
    }

    @property
    def path(self) -> Path:
        """The file of the database."""
        path: Path = self.fixture("tmp_path") / self.database
        return path

    def url(self, driver: str = "sqlite") -> str:
        return f"{driver or 'sqlite'}:///{self.path}"

    def stored(self, key: str) -> bytes | None:
        connection = sqlite3.connect(self.path)
        row = connection.execute("select value from contract_values where key = ?", (key,)).fetchone()
        connection.close()
        return None if row is None else bytes(row[0])


class AsyncSqlite(AsyncDatabase, Sqlite):
    """An async engine of SQLite."""

    name = "SQLAlchemy SQLite async"
    inapplicable: ClassVar[Mapping[str, str]] = {**OF_AN_ENGINE, **OF_SQLITE}

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        blocking = sqlite3.connect(self.path)
        self._closing.callback(blocking.close)
        blocking.execute("BEGIN EXCLUSIVE")

        async def get() -> None:
            async with client.connect() as connection:
                raw = await connection.get_raw_connection()
                await raw.driver_connection.execute("PRAGMA busy_timeout=500")
                await connection.execute(chosen("a"))

        return get, lambda: [start for start in recorder.of(StoreProgressStartEvent) if start.operation == "query"]


class PostgreSql(Database):
    """An engine of PostgreSQL, by psycopg."""

    name = "SQLAlchemy PostgreSQL"
    drivers = ("postgresql", "postgresql+psycopg")
    connect_args: ClassVar[Mapping[str, Any]] = {
        "prepare_threshold": None
    }  # psycopg deallocates prepared statements in transactions of its own
    inapplicable: ClassVar[Mapping[str, str]] = OF_AN_ENGINE

    def create(self) -> None:
        self._server: PostgreSQL = self.fixture("postgresql")
        with self.outside("orders") as connection:
            connection.execute(f"CREATE DATABASE {self.database}")

    def url(self, driver: str = "") -> str:
        return self._server.url(database=self.database)

    @contextmanager
    def outside(self, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        """Connect without SQLAlchemy."""
        parameters = {"host": str(self._server.folder), "dbname": database or self.database, "user": "encore"}
        with psycopg.connect(**parameters, autocommit=True) as connection:  # type: ignore[arg-type]
            yield connection

    def stored(self, key: str) -> bytes | None:
        with self.outside() as connection:
            row = connection.execute("select value from contract_values where key = %s", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Return a block in which `get` waits for a lock, and then loses its connection."""
        with self.outside() as locking, self.outside("orders") as ending:
            locking.execute("BEGIN; LOCK TABLE contract_values")
            end = "select pg_terminate_backend(pid) from pg_locks where not granted"
            stop = False

            def terminate() -> None:
                while not stop and not ending.execute(end).fetchall():
                    pass

            thread = threading.Thread(target=terminate)
            thread.start()
            yield
            stop = True
            thread.join()

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        locking, looking = (self._closing.enter_context(self.outside(one)) for one in (None, "orders"))
        locking.execute("BEGIN; LOCK TABLE contract_values")
        waiting = "select 1 from pg_locks where not granted"
        return lambda: self.get(client, "a"), lambda: looking.execute(waiting).fetchall()

    def xacts(self) -> tuple[int, int]:
        """Return the transactions that the server has committed and rolled back."""
        with self.outside("orders") as connection:
            wait = "select count(*) from pg_stat_activity where datname = %s"
            while connection.execute(wait, (self.database,)).fetchone() != (0,):
                pass
            query = "select xact_commit, xact_rollback from pg_stat_database where datname = %s"
            found = connection.execute(query, (self.database,)).fetchone()
        assert found is not None
        return found[0], found[1]

    def killed(self) -> tuple[Any, Callable[[Any], Any]]:
        self._server = self._closing.enter_context(PostgreSQL())
        with self.outside("orders") as connection:
            connection.execute(f"CREATE DATABASE {self.database}")
        METADATA.create_all(create_engine(self.url(), poolclass=NullPool))
        return self.make(), self.write_while_killed

    def write_while_killed(self, client: Any) -> Any:
        """Write twice, and kill the server between."""
        with client.begin() as connection:
            connection.execute(added("a", DATA))
            self._server.kill()
            connection.execute(added("b", DATA))


class AsyncPostgreSql(AsyncDatabase, PostgreSql):
    """An async engine of PostgreSQL, by psycopg."""

    name = "SQLAlchemy PostgreSQL async"

    async def write_while_killed(self, client: Any) -> Any:
        async with client.begin() as connection:
            await connection.execute(added("a", DATA))
            self._server.kill()
            await connection.execute(added("b", DATA))


DATABASES: list[type[Case]] = [Sqlite, PostgreSql, AsyncSqlite, AsyncPostgreSql]
