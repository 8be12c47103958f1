"""Parsing of queries, and the errors for invalid ones."""

from __future__ import annotations

import pytest

from encore_storage.server.errors import QueryError
from encore_storage.server.query import Position, Query, parse_position, parse_query, parse_view
from encore_storage.server.ring import BufferedEvent

ENDED = "encore.storage.operation.ended"


def event(
    type: str = ENDED,  # noqa: A002 (the name in CloudEvents)
    store: str | None = "archive",
    operation: str | None = "get",
    outcome: str | None = "ok",
    process: int | None = 7,
) -> BufferedEvent:
    return BufferedEvent(1, 0.0, type, store, operation, outcome, process, b"")


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
def test_asterisk_matches_anything(pattern: str, *, matches: bool) -> None:
    assert Query(types=(pattern,)).accepts(event()) is matches


def test_pattern_of_many_asterisks_is_matched_in_linear_time() -> None:
    query = parse_query([("type", "**a" * 8)])

    assert query.types == ("*a" * 8,)
    assert not query.accepts(event(type="a" * 7 + "b" * 10_000))
    assert query.accepts(event(type="a" * 10_000))


def test_query_accepts_events_that_match_all_parameters() -> None:
    query = parse_query(
        [("store", "archive"), ("store", "other"), ("operation", "get"), ("outcome", "ok"), ("process", "7")]
    )

    assert query.accepts(event())
    assert query.accepts(event(store="other"))
    assert not query.accepts(event(store="third"))
    assert not query.accepts(event(operation="set"))
    assert not query.accepts(event(operation=None))
    assert not query.accepts(event(outcome="error"))
    assert not query.accepts(event(outcome=None))
    assert not query.accepts(event(process=8))
    assert not query.accepts(event(process=None))


def test_empty_query_accepts_all_events() -> None:
    assert parse_query([]).accepts(event(store=None, operation=None, outcome=None))


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (
            [("stroe", "a")],
            "unknown parameter 'stroe': use one of type, store, operation, outcome, process, since, view",
        ),
        ([("type", "encore(")], "invalid type 'encore(': use letters, digits, '.', '_', '-' and '*'"),
        ([("type", "")], "invalid type '': use letters, digits, '.', '_', '-' and '*'"),
        ([("type", "a*b" * 9)], "invalid type 'a*ba*ba*ba*ba*ba*ba*ba*ba*b': use at most 8 asterisks"),
        ([("store", "a")] * 17, "parameter 'store' repeated 17 times: give at most 16 values"),
        ([("operation", "steal")], "unknown operation 'steal': use one of get, get_range, get_metadata, exists, "),
        ([("process", "0")], "invalid process '0': use the id of a process"),
        ([("process", "me")], "invalid process 'me': use the id of a process"),
        ([("outcome", "fine")], "unknown outcome 'fine': use one of ok, miss, error, cancelled, committed, "),
    ],
)
def test_invalid_query_is_refused(pairs: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query(pairs)

    assert str(refused.value).startswith(sentence)


def test_error_truncates_a_long_value() -> None:
    with pytest.raises(QueryError) as refused:
        parse_query([("x" * 10_000, "")])

    assert len(str(refused.value)) < 300


def test_view_is_events_or_summary() -> None:
    assert parse_view([]) == "events"
    assert parse_view([("view", "summary")]) == "summary"
    with pytest.raises(QueryError, match="unknown view 'all': use one of events, summary"):
        parse_view([("view", "all")])
    with pytest.raises(QueryError, match="unknown view ''"):
        parse_view([("view", "")])
    with pytest.raises(QueryError, match="parameter 'view' repeated 2 times: give it once"):
        parse_view([("view", "events"), ("view", "events")])


@pytest.mark.parametrize("name", ["type", "operation", "outcome"])
def test_summary_refuses_other_filters_than_store_and_process(name: str) -> None:
    assert parse_view([("view", "summary"), ("store", "a"), ("process", "7"), ("since", "0")]) == "summary"
    with pytest.raises(QueryError, match=f"invalid summary parameter '{name}': use one of store, process, since, view"):
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
def test_since_is_an_id_or_a_time(since: str, position: Position) -> None:
    assert parse_position([("since", since)], None) == position


def test_last_event_id_takes_precedence_over_since() -> None:
    assert parse_position([("since", "1790000000")], "0123abcd-5") == Position("0123abcd", 5)
    assert parse_position([("since", "1790000000")], "") == Position(time=1790000000.0)
    assert parse_position([], None) is None


def test_repeated_since_is_refused() -> None:
    with pytest.raises(QueryError, match="parameter 'since' repeated 2 times: give it once"):
        parse_position([("since", "1790000000"), ("since", "1790000000")], "0123abcd-5")


@pytest.mark.parametrize(
    "since", ["", "yesterday", "2026-11-24T25:30:00Z", "0123abcd-", "0123ABCD-1", "nan", "inf", "-1", "1e9", "1" * 400]
)
def test_invalid_since_is_refused(since: str) -> None:
    with pytest.raises(
        QueryError,
        match=r"^invalid since .*: use the id of a message or of an event, seconds since the epoch, or a time such as ",
    ):
        parse_position([("since", since)], None)


@pytest.mark.parametrize("since", ["2026-11-24T16:30:00", "2026-11-24 16:30", "2026-11-24"])
def test_time_without_a_zone_is_refused(since: str) -> None:
    with pytest.raises(QueryError, match=r"^time without zone .*: add Z for UTC, or an offset such as "):
        parse_position([("since", since)], None)


@pytest.mark.parametrize("last", ["1790000000", "x", "0123456789abcdef", "0123abcd-1\r\nX: y", "0123abcd-" + "9" * 30])
def test_invalid_last_event_id_is_refused(last: str) -> None:
    with pytest.raises(QueryError, match=r"^invalid Last-Event-ID .*: use the id of a message$"):
        parse_position([], last)
