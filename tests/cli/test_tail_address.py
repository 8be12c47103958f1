"""What `encore tail` makes of the address that it is given."""

from __future__ import annotations

import pytest

from encore_storage.cli.address import EventsAddress, EventsAddressError
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
def test_whatever_is_served_there_leads_to_the_events(text: str) -> None:
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
def test_it_may_be_mounted_anywhere(text: str, url: str) -> None:
    assert EventsAddress.parse(text).url == url


def test_what_the_address_asks_for_is_asked_for() -> None:
    address = EventsAddress.parse("localhost:1/events?type=*.ended&store=a%20b&view=summary")

    assert address.query == (("type", "*.ended"), ("store", "a b"))


def test_the_store_that_a_page_shows_is_asked_for() -> None:
    address = EventsAddress.parse("http://localhost:1/#store=a%20b&pause=1")

    assert (address.url, address.query) == ("http://localhost:1/events", (("store", "a b"),))


def test_a_password_in_the_address_is_never_shown() -> None:
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
def test_it_knows_what_is_on_this_machine(text: str, is_loopback: bool) -> None:
    assert EventsAddress.parse(text).is_loopback == is_loopback


@pytest.mark.parametrize(
    "text",
    ["", "ftp://host", "http://", "http:///events", "host:port", "host:99999", "host:0", "a b", "a\nb", "http://[::1"],
)
def test_what_is_no_address_is_told_with_what_to_give(encore: Encore, text: str) -> None:
    with pytest.raises(EventsAddressError) as caught:
        EventsAddress.parse(text)

    assert caught.value.text == text
    done = encore("tail", text)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"encore: {text!r} is no address of a page: give one such as http://127.0.0.1:9464, ")


def test_a_name_that_no_host_can_have_is_no_address(encore: Encore) -> None:
    done = encore("tail", "http://xn--/")

    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "is no address of a page" in done.err
