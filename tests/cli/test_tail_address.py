"""Addresses given to `encore tail`."""

from __future__ import annotations

import json

import pytest

from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.cli.address import EventsAddress
from encore_storage.cli.errors import EventsAddressError
from tests.cli.conftest import Encore
from tests.cli.scripted import running
from tests.cli.support import start


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9464",
        "http://127.0.0.1:9464/",
        "http://127.0.0.1:9464/events",
        "http://127.0.0.1:9464/events/",
        "http://127.0.0.1:9464/metrics",
        "http://127.0.0.1:9464/api/operations?view=summary",
        "http://127.0.0.1:9464/login?code=secret",
        "http://127.0.0.1:9464/#main",
        "http://127.0.0.1:9464/#view=summary",
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


@pytest.mark.parametrize("path", ["", "/", "/events", "/metrics", "/api/operations", "/healthz", "/login"])
@pytest.mark.parametrize("mark", "?#")
def test_query_keeps_parameters_of_the_address(path: str, mark: str) -> None:
    address = EventsAddress.parse(f"localhost:1{path}{mark}type=*.ended&store=a%20b&view=summary&since=0")

    assert address.url == "http://localhost:1/events"
    assert address.query == (("type", "*.ended"), ("store", "a b"), ("since", "0"))


def test_query_and_fragment_are_added_up() -> None:
    address = EventsAddress.parse("http://localhost:1/?outcome=error&store=#store=a%20b&process=7")

    assert address.query == (("outcome", "error"), ("store", ""), ("store", "a b"), ("process", "7"))


@pytest.mark.parametrize(
    "place", ["?stoer=a", "events?stoer=a", "metrics?stoer=", "#stoer=a", "#store=a&stoer=a", "?stoer"]
)
def test_unknown_parameters_are_refused(encore: Encore, page: str, place: str) -> None:
    result = encore("tail", page + place)

    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert "answers 400: unknown parameter 'stoer': use one of type, " in result.err


def test_parameters_of_the_page_filter_events(page: str, store: DictMemoryStore) -> None:
    for key in "ab":
        store.from_bytes(key, b"1")
    with pytest.raises(KeyNotFoundError):
        store.to_bytes("c")
    with running(start("tail", f"{page}?outcome=miss&since=0", "--json", interrupted=True)) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["data"]["key"] == "c"


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
