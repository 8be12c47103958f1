"""What is told where keys are left out or redacted: nothing that may quote one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from encore_events import BaseEvent
from encore_storage.codec import EventCodec, GenericEvent
from encore_storage.errors import KeyNotFoundError
from encore_storage.events import StoreKeyEvent, StoreProgressEndEvent, StoreSetEvent, StoreTransactionEndEvent
from tests.codec.support import Opened, data

SECRET = "reports/secret"
CODECS = [EventCodec(keys=False), EventCodec(keys=lambda key: f"{len(key)} characters")]


def end(**attributes: Any) -> StoreProgressEndEvent:
    return StoreProgressEndEvent(
        **{"store": "a", "operation": "get", "key": SECRET, "message": f"get {SECRET}", "bytes": 3, **attributes}
    )


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_in_a_workload_quotes_a_key(codec: EventCodec, events: list[BaseEvent]) -> None:
    keys = {event.key for event in events if isinstance(event, StoreKeyEvent) and event.key}
    keys -= {"a", "b", "c", "d"}  # which are in other words, too

    lines = "\n".join(codec.encode(event).decode() for event in events)

    assert keys == {"reports/q3", "reports/full", "nothing"}
    assert [key for key in keys if key in lines] == []


@pytest.mark.parametrize("codec", CODECS)
def test_no_words_come_along(codec: EventCodec) -> None:
    event = end(error=KeyNotFoundError(SECRET, "a"), error_type="not_found", added=SECRET, _note=SECRET)

    told = data(event, codec)

    assert SECRET not in str(told)
    assert told["error"] == {"type": "KeyNotFoundError", "error_type": "not_found"}
    assert told.keys().isdisjoint({"message", "added"})
    assert (told["bytes"], told["error_type"]) == (3, "not_found")


@pytest.mark.parametrize("codec", CODECS)
def test_what_the_system_says_of_an_error_quotes_nothing(codec: EventCodec) -> None:
    told = data(end(error=FileNotFoundError(2, "No such file or directory", SECRET)), codec)

    assert told["error"]["message"] == "No such file or directory"
    assert data(end(error=SECRET), codec)["error"] is None


@pytest.mark.parametrize("codec", CODECS)
def test_neither_notes_nor_what_encore_does_not_know_are_told(codec: EventCodec) -> None:
    assert "notes" not in data(StoreTransactionEndEvent(store="a", notes=SECRET), codec)
    assert data(Opened(door=SECRET), codec) == {}
    assert data(GenericEvent(type="acme.new", data={"key": SECRET}), codec) == {}


def test_a_key_is_left_out_or_told_as_the_function_says() -> None:
    without, redacted = (data(end(), codec) for codec in CODECS)

    assert "key" not in without
    assert redacted["key"] == "14 characters"
    assert data(end(key=None), CODECS[1])["key"] is None


def test_a_redaction_that_fails_lets_nothing_through() -> None:
    def failing(key: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        EventCodec(keys=failing).encode(end())


def test_metadata_that_was_asked_for_is_told_all_the_same() -> None:
    codec = EventCodec(keys=False, metadata=True)

    assert data(end(metadata={"author": "Ada"}), codec)["metadata"] == {"author": "Ada"}


class Redeclared(StoreSetEvent):
    """A class of a program's own that says again what it inherits."""

    store: str | None
    key: str | None
    metadata: Mapping[str, Any] | None = None


@pytest.mark.parametrize("keys", [True, False, len])
def test_what_a_program_declares_once_more_is_told_as_it_was(keys: Any) -> None:
    event = Redeclared(store="archive", key="secret", metadata={"secret": 1})

    data = EventCodec(keys=keys).data_of(event)

    assert data["store"] == "archive"
    assert "metadata" not in data
    assert data.get("key") == {True: "secret", False: None, len: 6}[keys]
