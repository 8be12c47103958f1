"""What clients may ask for, and what they are told when they can't."""

from __future__ import annotations

import pytest

from encore_storage.server.errors import QueryError
from encore_storage.server.query import Position, Query, parse_position, parse_query, parse_view
from encore_storage.server.ring import BufferedEvent

ENDED = "encore.storage.operation.ended"


def event(
    type: str = ENDED,  # noqa: A002 (what CloudEvents call it)
    store: str | None = "archive",
    operation: str | None = "get",
    outcome: str | None = "ok",
) -> BufferedEvent:
    return BufferedEvent(1, 0.0, type, store, operation, outcome, b"")


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (ENDED, True),
        ("encore.storage.operation", False),
        ("encore.storage.*", True),
        ("*", True),
        ("*.ended", True),
        ("encore.*.ended", True),
        ("encore.*.*.ended", True),
        ("encore.*storage*ended", True),
        ("encore.*ended.*", False),
        ("*.started", False),
        ("encore.storage.operation.ended*", True),
        ("encore.storage.operation.ended*d", False),
        ("*operation*storage*", False),
        ("encore.storage.operatio?.ended", False),
    ],
)
def test_a_pattern_has_asterisks_for_anything(pattern: str, *, matches: bool) -> None:
    assert Query(types=(pattern,)).accepts(event()) is matches


def test_a_pattern_of_many_asterisks_is_decided_at_once() -> None:
    query = parse_query([("type", "**a" * 8)])

    assert query.types == ("*a" * 8,)
    assert not query.accepts(event(type="a" * 7 + "b" * 10_000))
    assert query.accepts(event(type="a" * 10_000))


def test_everything_that_is_given_has_to_fit() -> None:
    query = parse_query([("store", "archive"), ("store", "other"), ("operation", "get"), ("outcome", "ok")])

    assert query.accepts(event())
    assert query.accepts(event(store="other"))
    assert not query.accepts(event(store="third"))
    assert not query.accepts(event(operation="set"))
    assert not query.accepts(event(operation=None))
    assert not query.accepts(event(outcome="error"))
    assert not query.accepts(event(outcome=None))


def test_nothing_given_leaves_nothing_out() -> None:
    assert parse_query([]).accepts(event(store=None, operation=None, outcome=None))


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([("stroe", "a")], "there is no parameter 'stroe': there are type, store, operation, outcome, since, view"),
        ([("type", "encore(")], "type 'encore(' is no pattern: letters, digits, '.', '_', '-', and '*' for anything"),
        ([("type", "")], "type '' is no pattern: letters, digits, '.', '_', '-', and '*' for anything"),
        ([("type", "a*b" * 9)], "type 'a*ba*ba*ba*ba*ba*ba*ba*ba*b' has more than 8 asterisks"),
        ([("store", "a")] * 17, "store is given 17 times: at most 16 can be asked for at once"),
        ([("operation", "steal")], "there is no operation 'steal': there are get, get_range, get_metadata, exists, "),
        ([("outcome", "fine")], "there is no outcome 'fine': there are ok, miss, error, cancelled, committed, "),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(pairs: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query(pairs)

    assert str(refused.value).startswith(sentence)


def test_a_refusal_shows_only_the_beginning_of_something_long() -> None:
    with pytest.raises(QueryError) as refused:
        parse_query([("x" * 10_000, "")])

    assert len(str(refused.value)) < 300


def test_a_view_is_one_of_two() -> None:
    assert parse_view([]) == "events"
    assert parse_view([("view", "summary")]) == "summary"
    with pytest.raises(QueryError, match="there is no view 'all': there are events, summary"):
        parse_view([("view", "all")])
    with pytest.raises(QueryError, match="there is no view ''"):
        parse_view([("view", "")])
    with pytest.raises(QueryError, match="view is given 2 times: there can be one"):
        parse_view([("view", "events"), ("view", "events")])


@pytest.mark.parametrize("name", ["type", "operation", "outcome"])
def test_a_summary_is_of_stores(name: str) -> None:
    assert parse_view([("view", "summary"), ("store", "a"), ("since", "0")]) == "summary"
    with pytest.raises(QueryError, match=f"a summary can't be asked for by {name}: there are store, since, view"):
        parse_view([(name, "ok"), ("view", "summary")])


@pytest.mark.parametrize(
    ("since", "position"),
    [
        ("0123abcd-17", Position("0123abcd", 17)),
        ("0123456789abcdef", Position(id="0123456789abcdef")),
        ("0123456789012345", Position(id="0123456789012345")),
        ("1790000000", Position(time=1790000000.0)),
        ("1790000000.25", Position(time=1790000000.25)),
        ("2026-11-24T16:30:00Z", Position(time=1795537800.0)),
        ("2026-11-24T17:30:00+01:00", Position(time=1795537800.0)),
        ("2026-11-24T17:30:00 01:00", Position(time=1795537800.0)),
    ],
)
def test_a_position_is_an_id_or_a_time(since: str, position: Position) -> None:
    assert parse_position([("since", since)], None) == position


def test_the_last_event_id_wins_over_since() -> None:
    assert parse_position([("since", "1790000000")], "0123abcd-5") == Position("0123abcd", 5)
    assert parse_position([("since", "1790000000")], "") == Position(time=1790000000.0)
    assert parse_position([], None) is None


def test_there_is_one_since() -> None:
    with pytest.raises(QueryError, match="since is given 2 times: there can be one"):
        parse_position([("since", "1790000000"), ("since", "1790000000")], "0123abcd-5")


@pytest.mark.parametrize(
    "since", ["", "yesterday", "2026-11-24T25:30:00Z", "0123abcd-", "0123ABCD-1", "nan", "inf", "-1", "1e9", "1" * 400]
)
def test_a_since_that_is_neither_is_refused(since: str) -> None:
    with pytest.raises(QueryError, match="is not the id of an event, seconds since the epoch, or a time such as "):
        parse_position([("since", since)], None)


@pytest.mark.parametrize("since", ["2026-11-24T16:30:00", "2026-11-24 16:30", "2026-11-24"])
def test_a_time_without_a_zone_is_refused_with_how_to_add_one(since: str) -> None:
    with pytest.raises(QueryError, match="has no time zone: add Z for UTC, or an offset such as "):
        parse_position([("since", since)], None)


@pytest.mark.parametrize("last", ["1790000000", "x", "0123456789abcdef", "0123abcd-1\r\nX: y", "0123abcd-" + "9" * 30])
def test_a_last_event_id_is_an_id(last: str) -> None:
    with pytest.raises(QueryError, match=r"is not the id of an event$"):
        parse_position([], last)
