"""Addresses given to `encore tail`."""

from __future__ import annotations

import pytest

from encore_storage.cli.address import EventsAddress
from encore_storage.cli.errors import EventsAddressError
from tests.cli.conftest import Encore


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9464",
        "http://127.0.0.1:9464/",
        "http://127.0.0.1:9464/events",
        "http://127.0.0.1:9464/events/",
        "http://127.0.0.1:9464/metrics",
        "http://127.0.0.1:9464/api/operations?store=archive",
        "http://127.0.0.1:9464/login?code=secret",
        "http://127.0.0.1:9464/#live",
        "127.0.0.1:9464",
    ],
)
def test_parse_accepts_everything_served_beside_the_events(text: str) -> None:
    address = EventsAddress.parse(text)

    assert (address.url, address.query) == ("http://127.0.0.1:9464/events", ())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://example.org/encore", "https://example.org/encore/events"),
        ("example.org/encore/metrics", "http://example.org/encore/events"),
        ("[::1]:9464", "http://[::1]:9464/events"),
        ("localhost", "http://localhost/events"),
    ],
)
def test_parse_keeps_host_and_path(text: str, url: str) -> None:
    assert EventsAddress.parse(text).url == url


def test_query_keeps_filters_of_the_address() -> None:
    address = EventsAddress.parse("localhost:1/events?type=*.ended&store=a%20b&view=summary")

    assert address.query == (("type", "*.ended"), ("store", "a b"))


def test_query_has_the_store_shown_on_the_page() -> None:
    address = EventsAddress.parse("http://localhost:1/#store=a%20b&pause=1")

    assert (address.url, address.query) == ("http://localhost:1/events", (("store", "a b"),))


def test_shown_hides_credentials() -> None:
    address = EventsAddress.parse("https://me:secret@example.org/encore")

    assert address.shown == "https://example.org"
    assert address.url == "https://me:secret@example.org/encore/events"


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("a.b", False),
    ],
)
def test_is_loopback_recognises_this_machine(text: str, is_loopback: bool) -> None:
    assert EventsAddress.parse(text).is_loopback == is_loopback


@pytest.mark.parametrize(
    "text",
    ["", "ftp://host", "http://", "http:///events", "host:port", "host:99999", "host:0", "a b", "a\nb", "http://[::1"],
)
def test_parse_refuses_other_text(encore: Encore, text: str) -> None:
    with pytest.raises(EventsAddressError) as caught:
        EventsAddress.parse(text)

    assert caught.value.text == text
    result = encore("tail", text)
    assert (result.status, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith(
        f"encore: cannot read events from {text!r}: give the address of a page, such as http://127.0.0.1:9464"
    )


def test_invalid_host_name_is_refused(encore: Encore) -> None:
    result = encore("tail", "http://xn--/")

    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "cannot read events from" in result.err
