"""Verbs of SQL statements, and the types of errors of drivers."""

from __future__ import annotations

import sqlite3
import time

import pytest

from encore_storage.clients.sql import Verb, code_of, error_type_of_driver, verb_of


@pytest.mark.parametrize(
    ("statement", "verb"),
    [
        ("SELECT 1", Verb("SELECT", "query", writes=False)),
        ("  select * from t for update", Verb("SELECT", "query", writes=False)),
        ("((SELECT 1) UNION SELECT 2)", Verb("SELECT", "query", writes=False)),
        ("-- INSERT\n/* DELETE\n */ VALUES (1)", Verb("VALUES", "query", writes=False)),
        ("Insert Into t VALUES (1)", Verb("INSERT", "set", writes=True)),
        ("REPLACE INTO t VALUES (1)", Verb("REPLACE", "set", writes=True)),
        ("MERGE INTO t", Verb("MERGE", "set", writes=True)),
        ("UPDATE t SET x = 1", Verb("UPDATE", "set", writes=True)),
        ("delete from t", Verb("DELETE", "delete", writes=True)),
        ("WITH a AS (SELECT 1) SELECT * FROM a", Verb("SELECT", "query", writes=False)),
        ("WITH a AS (SELECT 1 FOR UPDATE) SELECT 'DELETE (' FROM a", Verb("SELECT", "query", writes=False)),
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", Verb("SELECT", "query", writes=True)),
        ("WITH a AS (SELECT ')') INSERT INTO t SELECT * FROM a", Verb("INSERT", "set", writes=True)),
        ("WITH a AS (SELECT 1) UPDATE t SET x = (SELECT 1)", Verb("UPDATE", "set", writes=True)),
        ("WITH nothing", Verb("SQL", "execute", writes=True)),
        ("EXPLAIN SELECT 1", Verb("EXPLAIN", "execute", writes=False)),
        ("EXPLAIN ANALYZE DELETE FROM t", Verb("EXPLAIN", "execute", writes=True)),
        ("CREATE TABLE t (x int)", Verb("CREATE", "execute", writes=True)),
        ("SAVEPOINT one", Verb("SAVEPOINT", "execute", writes=False)),
        ("FROBNICATE t", Verb("SQL", "execute", writes=True)),
        ("", Verb("SQL", "execute", writes=True)),
        ("{call secret}", Verb("SQL", "execute", writes=True)),
    ],
)
def test_verb_of_a_statement(statement: str, verb: Verb) -> None:
    assert verb_of(statement) == verb


@pytest.mark.parametrize(
    "statement", ["/*" * 50_000, "/* */" * 20_000, "WITH " + "(" * 100_000, "WITH '" + "''" * 50_000]
)
def test_verb_of_a_long_statement_is_found_in_no_time(statement: str) -> None:
    started = time.process_time()
    verb_of(statement)

    assert time.process_time() - started < 2


class DriverError(Exception):
    """An error of a driver, with the attributes that drivers have."""


@pytest.mark.parametrize(
    ("attributes", "code", "error_type"),
    [
        ({"sqlstate": "23505"}, "23505", "conflict"),
        ({"pgcode": "40P01"}, "40P01", "conflict"),
        ({"sqlstate": "57014"}, "57014", "timeout"),
        ({"sqlstate": "08006"}, "08006", "connection"),
        ({"sqlstate": "28P01"}, "28P01", "permission_denied"),
        ({"sqlstate": "53100"}, "53100", "quota_exceeded"),
        ({"sqlstate": "0A000"}, "0A000", "unsupported"),
        ({"sqlstate": "P0001"}, "P0001", "other"),
        ({"sqlite_errorname": "SQLITE_BUSY_SNAPSHOT"}, "SQLITE_BUSY_SNAPSHOT", "timeout"),
        ({"sqlite_errorname": "SQLITE_FULL"}, "SQLITE_FULL", "quota_exceeded"),
        ({"sqlite_errorname": "SQLITE_MISUSE"}, "SQLITE_MISUSE", "other"),
        ({"args": (1213, "deadlock")}, "1213", "conflict"),
        ({"args": (1142, "denied")}, "1142", "permission_denied"),
        ({"args": ("a text",)}, None, "other"),
        ({"pgcode": None}, None, "other"),
    ],
)
def test_code_and_type_of_an_error(attributes: dict[str, object], code: str | None, error_type: str) -> None:
    error = DriverError()
    for name, value in attributes.items():
        setattr(error, name, value)

    assert code_of(error) == code
    assert error_type_of_driver(error, code) == error_type


def test_class_of_an_error_without_a_code_has_a_type() -> None:
    assert error_type_of_driver(sqlite3.IntegrityError(), None) == "conflict"
    assert error_type_of_driver(sqlite3.NotSupportedError(), None) == "unsupported"
    assert error_type_of_driver(ConnectionResetError(), None) == "connection"
