"""The types that `encore tail --type` accepts."""

from __future__ import annotations

import pytest

from encore_storage.cli.event_types import check_types, notes_on_types
from encore_storage.codec.types import TYPES
from tests.cli.conftest import Encore


@pytest.mark.parametrize(
    "pattern",
    ["get", "operation.ended", "encore.storage.operation.end", "encore.*.finished", "shop.*", "ENCORE.*", "-"],
)
@pytest.mark.parametrize("way", ["option", "address"])
def test_unknown_type_is_refused_with_the_types(encore: Encore, pattern: str, way: str) -> None:
    place = f"localhost:1/events?type={pattern}" if way == "address" else "localhost:1"
    result = encore("tail", place, *(["--type", "*.set", "--type", pattern] if way == "option" else []))

    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"encore: unknown type {pattern!r}: use * for anything, ")
    assert all(type_ in result.err for type_ in TYPES)


@pytest.mark.parametrize("pattern", ["*", "**.ended", "encore.events.dropped", "pyth*", "python.shop.Sold", "*Sold"])
def test_type_that_may_exist_is_not_refused(pattern: str) -> None:
    check_types([("type", pattern), ("store", "nowhere")])


@pytest.mark.parametrize(("way", "pattern"), [("option", "*.endd"), ("address", "*.endd"), ("option", "**Sold")])
def test_type_that_only_a_program_may_have_is_noted(encore: Encore, way: str, pattern: str) -> None:
    place = f"localhost:1/?type={pattern}" if way == "address" else "localhost:1"
    result = encore("tail", place, *(["--type", "*.set", "--type", pattern] if way == "option" else []))

    note, error = result.err.splitlines()
    assert (result.status, result.out) == (1, "")
    assert note == f"-- type {pattern!r} matches no type of Encore: only a program's own events can match"
    assert error.startswith("encore: cannot read ")


@pytest.mark.parametrize(
    "pattern", ["*", "**.ended", "encore.events.dropped", "*key*", "python.*", "python.shop.Sold", "a b"]
)
def test_other_types_are_not_noted(pattern: str) -> None:
    assert list(notes_on_types([("type", pattern), ("store", "*.endd")])) == []
