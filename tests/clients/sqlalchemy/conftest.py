"""Observed engines of SQLite and of a real PostgreSQL server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from tests.clients.postgresql import PostgreSQL
from tests.clients.sqlalchemy.support import METADATA

Connect = Callable[..., Engine]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/orders.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture(scope="session")
def postgresql_url(postgresql: PostgreSQL) -> str:
    METADATA.create_all(create_engine(postgresql.url(), poolclass=NullPool))
    return postgresql.url()


def empty_tables(url: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        if url.startswith("sqlite"):
            METADATA.create_all(connection)
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def connect(manager: EventManager) -> Iterator[Connect]:
    """Return engines for addresses, with empty tables; they are observed afterwards."""
    engines = list[Engine]()

    def connect(url: str, **options: Any) -> Engine:
        engine = create_engine(url, **options)
        empty_tables(url)
        engines.append(engine)
        return observe(engine, event_manager=manager)

    yield connect
    for engine in engines:
        unobserve(engine)
        engine.dispose()


@pytest.fixture
def engine(url: str, connect: Connect) -> Engine:
    """An observed engine of each database in turn."""
    return connect(url)


@pytest.fixture
def sqlite(connect: Connect, tmp_path: Path) -> Engine:
    return connect(f"sqlite:///{tmp_path}/orders.db")


@pytest.fixture
def postgres(connect: Connect, postgresql_url: str) -> Engine:
    return connect(postgresql_url)


@pytest.fixture(autouse=True)
def no_values_in_events(recorder: EventRecorder) -> Iterator[None]:
    """Fail if an event has a value, the text of an error or a part of a statement."""
    yield
    for event in recorder.events:
        text = " ".join(f"{value}" for name, value in vars(event).items() if name != "source")
        assert not re.search(r"secret|orders_|violates|FROM|postgresql-", text), event
