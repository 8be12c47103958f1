"""The suites of the client libraries, plain and observed, in parts that run side by side."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.campaign.support import CASES
from tests.clients.postgresql import PostgreSQL
from tests.clients.suites.suites import AIOBOTOCORE, BOTOCORE, S3FS, S3TRANSFER, SQLALCHEMY
from tests.clients.suites.support import Suite, check

TIMEOUT = 1800.0

Record = Callable[[str, object], None]

# Without the tests that count calls and memory of SQLAlchemy itself, and those that run a type checker.
SQLALCHEMY_PARTS = ("base", "dialect/sqlite", "dialect/test_suite.py", "engine", "ext", "orm", "sql")
POSTGRESQL_PARTS = (
    *("dialect/postgresql", "dialect/test_suite.py", "engine", "ext/asyncio"),
    *("orm/test_session.py", "orm/test_transaction.py", "orm/test_unitofwork.py", "orm/test_versioning.py"),
    *("sql/test_insert_exec.py", "sql/test_returning.py"),
)
RULES = "tests/functional/test_endpoint_rulesets.py"
PARTS = (
    *(SQLALCHEMY._replace(tests=(f"test/{part}",)) for part in SQLALCHEMY_PARTS),
    BOTOCORE._replace(tests=("tests/unit",)),
    BOTOCORE._replace(tests=("tests/functional",), options=(f"--ignore={RULES}",)),
    BOTOCORE._replace(tests=(RULES,)),
    S3TRANSFER,
    AIOBOTOCORE._replace(tests=("tests/botocore_tests",)),
    S3FS,
)


@pytest.fixture(autouse=True)
def without_faulthandler() -> None:
    """Leave the timeout to the child process, which may take longer than a test of ours."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a database with the schemas that SQLAlchemy's suite expects."""
    with PostgreSQL() as server:
        engine = create_engine(server.url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for schema in ("test_schema", "test_schema_2"):
                connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield server.url()


@pytest.mark.parametrize("suite", PARTS, ids=lambda suite: f"{suite.distribution}-{suite.tests[0]}")
def test_suite_has_the_same_outcomes_when_observed(suite: Suite, record_property: Record) -> None:
    plain, _ = check(suite, timeout=TIMEOUT)

    record_property(CASES, len(plain.outcomes))


@pytest.mark.parametrize("part", POSTGRESQL_PARTS)
def test_suite_on_postgresql_has_the_same_outcomes_when_observed(
    part: str, database: str, record_property: Record
) -> None:
    options = (*SQLALCHEMY.options, f"--dburi={database}")
    plain, _ = check(SQLALCHEMY._replace(tests=(f"test/{part}",), options=options), timeout=TIMEOUT)

    record_property(CASES, len(plain.outcomes))
