"""Tests of the conditions by which SQLite selects metadata: a query finds what Python's equality finds."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_storage.metadata import Metadata
from encore_storage.stores import SqliteStore
from encore_storage.stores.sqlite import conditions
from encore_storage.stores.sqlite.conditions import EVERY_ROW, condition_of
from tests.storage.sqlite.support import store_at


class Text(str):
    """A text that equals any text."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, -0.0, 0.1, 0.1 + 0.2, 2**53, 2.0**53, 2**53 + 1, 2**63, 2**64, 2.0**64, 2**70),
    *(10**308, 10**309, 1e308, 5e-324, 1e22, 123456789.123456789, -(2**63), 10**400),
    *("", "1", "true", "null", "a", "A", "a ", "grün 🗝", "\0", "a\0b", "\ud83d", "\udddd", '"', "\\", "\n", "ß", "ss"),
    *([], [1], [1.0], [True], ["a", {"b": None}], {}, {"a": 1}, {"a": 1.0}, {"b": 2, "a": 1}, {"a": 1, "b": 2}),
]
WANTED = [*VALUES, ANY, Text("a"), (1,), math.nan, math.inf, -math.inf, b"a", {1}, 1j]
NAMES = [
    "a",
    "a b",
    "a.b",
    "a[0]",
    "$",
    "$.a",
    "",
    "#",
    "grün",
    'a"b',
    "a\\b",
    "a'b",
    "self",
    "?",
    "\t",
    "\0",
    "\ud83d",
]


@pytest.fixture(scope="module")
def filled() -> Iterator[SqliteStore]:
    """A store with each of the values under each of the names."""
    with store_at(":memory:") as store, store.transaction():
        for number, value in enumerate(VALUES):
            store.set_metadata(f"{number}", dict.fromkeys(NAMES, value))
        store.set_metadata("none", {"other": 1})
        yield store


def expected(store: SqliteStore, wanted: Metadata) -> list[str]:
    return [
        key
        for key, metadata in store.query()
        if all(name in metadata and metadata[name] == value for name, value in wanted.items())
    ]


@pytest.mark.parametrize("value", WANTED, ids=range(len(WANTED)))
def test_query_finds_equal_values(filled: SqliteStore, value: object) -> None:
    assert list(filled.query_keys(a=value)) == expected(filled, {"a": value})


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_query_finds_items_of_any_name(filled: SqliteStore, name: str) -> None:
    assert len(list(filled.query_keys(**{name: "a"}))) == 1
    assert list(filled.query_keys(**{name: 1})) == expected(filled, {name: 1})
    assert list(filled.query_keys(**{f"{name}x": "a"})) == []


@given(value=st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
def test_condition_is_true_for_equal_values(value: Any) -> None:
    condition = condition_of({"a": value})

    assert condition != EVERY_ROW or isinstance(value, str)
    assert is_true_for(condition, json.dumps({"b": 1, "a": value}))
    assert is_true_for(condition_of({"b": 1.0, "a": value}), json.dumps({"b": 1, "a": value}))


@pytest.mark.parametrize(("value", "other"), [("a", "b"), (1, 2), (1, "1"), (None, 0), ([], {}), (0.1, 0.2)])
def test_condition_is_false_for_other_values(value: object, other: object) -> None:
    assert not is_true_for(condition_of({"a": value}), json.dumps({"a": other}))
    assert not is_true_for(condition_of({"a": value}), "{}")


def test_metadata_that_only_python_can_parse_is_found(store: SqliteStore) -> None:
    write(store, '{"n": 1, "deep": ' + "[" * 400 + "NaN" + "]" * 400 + "}")

    assert list(store.query_keys(n=1)) == ["key"]


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a/b": 1, "a/b": 2}',
        '{"a/b": null, "a/b": 2}',
        '{"c": {"a/b": 1}, "a/b": 1, "c": 0, "a/b": 2.0}',
        r'{"a\/b": 2}',
        r'{"\u0061/b": 2}',
        r'{"a\u002F\u0062": 2}',
        r'{"a/b": 1, "a\u002fb": 2}',
        r'{"a\/b": 1, "a/b": 2}',
        ' {"a/b":2}',
        '\t{"a/b"\n:\r0.2E+1, "x": 1}',
        '{"a/b": 20000000000000000e-16}',
    ],
)
def test_metadata_that_another_program_wrote_is_found(store: SqliteStore, metadata: str) -> None:
    write(store, metadata)

    assert list(store.query_keys(**{"a/b": 2})) == ["key"]
    assert list(store.query_keys(**{"a/b": 1})) == []


@pytest.mark.parametrize("metadata", ["", "{", "[]", "null", "5", '"a"', '["a"]', '{"a": 1}{', "{'a': 1}", '{"a": 01}'])
def test_query_that_reaches_damaged_metadata_raises(store: SqliteStore, metadata: str) -> None:
    write(store, metadata)

    with pytest.raises((ValueError, AttributeError)):
        list(store.query_keys(a=9))


@pytest.mark.parametrize(
    ("number", "written"),
    [
        *((math.inf, "1e999"), (-math.inf, "-1e999"), (0, "1e-400"), (5e-324, "4.9e-324"), (5e-324, "0.3e-323")),
        *((sys.float_info.max, "1.7976931348623158e308"), (sys.float_info.min, "2.2250738585072012e-308")),
        *((0.1, "0.1000000000000000055511151231257827021181583404541015625"), (10**400, "1" + "0" * 400)),
    ],
)
def test_numbers_that_another_program_wrote_are_found(number: float, written: str) -> None:
    assert json.loads(written) == number
    assert is_true_for(condition_of({"a": number}), f'{{"a": {written}}}')


@given(
    pairs=st.lists(st.tuples(st.text("ab/*[?", max_size=3), st.integers(0, 2), st.sets(st.integers(0, 2))), max_size=4),
    wanted=st.dictionaries(st.text("ab/*[?", max_size=3), st.integers(0, 2), min_size=1, max_size=2),
)
def test_condition_is_true_for_names_that_are_escaped_or_repeated(
    pairs: list[tuple[str, int, set[int]]], wanted: dict[str, int]
) -> None:
    items = [f'"{escaped(name, places)}": {value}' for name, value, places in pairs]
    metadata = "{" + ", ".join(items) + "}"

    assert is_true_for(condition_of(wanted), metadata) or not wanted.items() <= json.loads(metadata).items()


def test_condition_is_false_for_repeated_text_that_is_no_repeated_name() -> None:
    condition = condition_of({"a": 1})

    assert not is_true_for(condition, '{"a": "a", "b": {"a": 1}, "c": ["a", {"a": 1}], "grün": "\\u00fc \\n \\\\"}')


@pytest.mark.parametrize("length", [4000, 4001, 60_000])
def test_names_of_any_length_are_found(store: SqliteStore, length: int) -> None:
    store.set_metadata("key", {"[" * length: 1})

    assert list(store.query_keys(**{"[" * length: 1})) == ["key"]


def test_many_items_are_found(filled: SqliteStore) -> None:
    assert list(filled.query_keys(**dict.fromkeys(NAMES, "ß"))) == [str(VALUES.index("ß"))]


def test_query_works_without_the_functions_for_json(filled: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "_has_json", lambda: False)

    assert list(filled.query_keys(a="ß")) == [str(VALUES.index("ß"))]


def write(store: SqliteStore, metadata: str) -> None:
    """Store a key with that metadata, as another program may write it."""
    store.set_metadata("key", {})
    store._database.begin()
    store._database.write("UPDATE entry SET metadata = ?", metadata)
    store._database.commit()


def escaped(name: str, places: set[int]) -> str:
    """Return the name in JSON, with escapes for the characters at these places."""
    return "".join(f"\\u{ord(each):04x}" if place in places else each for place, each in enumerate(name))


def is_true_for(condition: conditions.Condition, metadata: str) -> bool:
    with sqlite3.connect(":memory:") as database:
        rows = database.execute(
            f"WITH entry (metadata) AS (SELECT ?) SELECT 1 FROM entry WHERE {condition.sql}",
            (metadata, *condition.parameters),
        ).fetchall()
    database.close()
    return bool(rows)
