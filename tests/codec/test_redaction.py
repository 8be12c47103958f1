"""Encoding with keys left out or redacted, which must leak no key."""

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
def test_no_message_of_a_workload_contains_a_key(codec: EventCodec, events: list[BaseEvent]) -> None:
    keys = {event.key for event in events if isinstance(event, StoreKeyEvent) and event.key}
    keys -= {"a", "b", "c", "d"}  # too short to search for

    lines = "\n".join(codec.encode(event).decode() for event in events)

    assert keys == {"reports/q3", "reports/full", "nothing"}
    assert [key for key in keys if key in lines] == []


@pytest.mark.parametrize("codec", CODECS)
def test_error_message_and_added_attributes_are_left_out(codec: EventCodec) -> None:
    event = end(error=KeyNotFoundError(SECRET, "a"), error_type="not_found", added=SECRET, _note=SECRET)

    encoded = data(event, codec)

    assert SECRET not in str(encoded)
    assert encoded["error"] == {"type": "KeyNotFoundError", "error_type": "not_found"}
    assert encoded.keys().isdisjoint({"message", "added"})
    assert (encoded["bytes"], encoded["error_type"]) == (3, "not_found")


@pytest.mark.parametrize("codec", CODECS)
def test_error_message_is_that_of_the_system(codec: EventCodec) -> None:
    encoded = data(end(error=FileNotFoundError(2, "No such file or directory", SECRET)), codec)

    assert encoded["error"]["message"] == "No such file or directory"
    assert data(end(error=SECRET), codec)["error"] is None


@pytest.mark.parametrize("codec", CODECS)
def test_notes_and_unknown_attributes_are_left_out(codec: EventCodec) -> None:
    assert "notes" not in data(StoreTransactionEndEvent(store="a", notes=SECRET), codec)
    assert data(Opened(door=SECRET), codec) == {}
    assert data(GenericEvent(type="acme.new", data={"key": SECRET}), codec) == {}


def test_key_is_left_out_or_replaced() -> None:
    without, redacted = (data(end(), codec) for codec in CODECS)

    assert "key" not in without
    assert redacted["key"] == "14 characters"
    assert data(end(key=None), CODECS[1])["key"] is None


def test_redaction_error_propagates() -> None:
    def failing(key: str) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        EventCodec(keys=failing).encode(end())


def test_requested_metadata_is_encoded() -> None:
    codec = EventCodec(keys=False, metadata=True)

    assert data(end(metadata={"author": "Ada"}), codec)["metadata"] == {"author": "Ada"}


class Redeclared(StoreSetEvent):
    """A program's own class that redeclares inherited attributes."""

    store: str | None
    key: str | None
    metadata: Mapping[str, Any] | None = None


@pytest.mark.parametrize("keys", [True, False, len])
def test_redeclared_attributes_are_redacted_like_inherited_ones(keys: Any) -> None:
    event = Redeclared(store="archive", key="secret", metadata={"secret": 1})

    data = EventCodec(keys=keys).data_of(event)

    assert data["store"] == "archive"
    assert "metadata" not in data
    assert data.get("key") == {True: "secret", False: None, len: 6}[keys]
