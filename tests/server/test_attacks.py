"""The server as an attacker would use it: other names, other methods, guesses, malformed requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from encore_events import BaseEvent, EventManager
from encore_storage import monitor
from encore_storage.monitor import Monitor
from encore_storage.server import EventFeed, connection, create_app
from encore_storage.server.query import Position, parse_query
from encore_storage.server.sse import EventStreams
from encore_storage.server.ticker import Ticker
from encore_storage.subscribers.errors import TokenError
from tests.server.support import Answer, ask, serving, until

TOKEN = "correct-horse-battery-staple"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
PATHS = ["/", "/events", "/api/operations", "/metrics", "/page/index.html", "/page/app.js"]


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The page of a server that asks for nothing, the same for all attackers."""
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0) as served:
        assert served.page is not None
        yield served.page


@pytest.fixture(scope="module")
def guarded() -> Iterator[Monitor]:
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0, token=TOKEN) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def closed(guarded: Monitor) -> str:
    """The page of a server that asks for a token."""
    assert guarded.page is not None
    return guarded.page


def raw(page: str, request: bytes) -> bytes:
    """What comes back for these very bytes, until the server hangs up, or cuts off what it won't read."""
    place, answer = urlsplit(page), b""
    with socket.create_connection((place.hostname, place.port), 30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        while piece := connection.recv(65536):
            answer += piece
    return answer


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", [*PATHS[:1], *PATHS[2:], "/healthz", "/nothing"])
def test_every_answer_carries_the_headers_for_browsers(page: str, path: str) -> None:
    answer = ask(page, path)

    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}])
def test_no_answer_lets_another_origin_read_it(page: str, headers: dict[str, str]) -> None:
    for path in ["/", "/api/operations", "/metrics", "/nothing"]:
        answer = ask(page, path, headers=headers)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/login"])
def test_there_is_nothing_but_get(page: str, method: str, path: str) -> None:
    answer = ask(page, path, method=method)

    assert answer.status == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]", "[::1", "localhost:x"],
)
def test_a_name_that_was_pointed_here_reads_nothing(page: str, host: str) -> None:
    for path in ["/", "/events", "/api/operations", "/metrics", "/healthz"]:
        answer = ask(page, path, headers={"Host": host})
        assert answer.status == 400
        assert "not known by that Host" in answer.error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234", "localhost.", "[::1]:80", "[::1]"])
def test_its_own_names_are_known(page: str, host: str) -> None:
    assert ask(page, "/healthz", headers={"Host": host}).status == 200


def test_a_request_has_just_one_host(page: str) -> None:
    two = raw(page, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    none = raw(page, b"GET /metrics HTTP/1.0\r\n\r\n")

    assert two.startswith(b"HTTP/1.1 400")
    assert none.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "query",
    [
        "type=encore(",
        "type=" + "x" * 300,
        "typ=a",
        "operation=steal",
        "outcome=",
        "since=yesterday",
        "since=1790000000%0d%0aX-Evil:+1",
        "view=all",
        "view=summary&type=*",
        "since=1&since=2",
        "a=" + "b" * 5000,
    ],
)
def test_a_malformed_query_gets_a_sentence(page: str, query: str) -> None:
    answer = ask(page, f"/events?{query}")

    assert answer.status == 400
    assert 20 < len(answer.error) < 400


def test_no_query_keeps_the_others_waiting(manager: EventManager) -> None:
    """One that accepts nothing of a full ring goes on piece by piece, and others have their turn in between."""
    feed = EventFeed().connect(manager)
    for number in range(10_000):
        manager.emit(BaseEvent(number=number))
    until(lambda: feed.ring.last == 10_000)
    pieces = list[str]()

    async def read() -> None:
        ticker = Ticker(lambda: feed.ring.last)
        streams = EventStreams(feed, ticker)
        stream = streams.events(parse_query([("type", "nothing"), ("since", "0")]), Position(time=0.0))
        reading = asyncio.ensure_future(count(stream))
        for _ in range(20):
            await asyncio.sleep(0)
            pieces.append("another's turn")
        ticker.close()
        reading.cancel()

    async def count(stream: AsyncIterator[bytes]) -> None:
        async for _ in stream:
            pieces.append("its turn")

    asyncio.run(read())
    feed.disconnect()

    assert pieces[:2] == ["its turn", "another's turn"] or pieces[:2] == ["another's turn", "its turn"]
    assert pieces.count("another's turn") == 20
    assert pieces.index("another's turn", 5) < 12


def test_a_malformed_last_event_id_gets_a_sentence(page: str) -> None:
    answer = ask(page, "/events", headers={"Last-Event-ID": "1; DROP TABLE events"})

    assert answer.status == 400
    assert "Last-Event-ID '1; DROP TABLE events' is not the id of an event" in answer.error


def test_the_api_has_one_parameter(page: str) -> None:
    assert ask(page, "/api/operations?stroe=a").error == "the only parameter here is store, the name of a store"


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/page/%00",
        "/page/",
        "/nowhere",
        "/page/vendor/../../app.py",
    ],
)
def test_only_the_files_of_the_page_are_given(page: str, path: str) -> None:
    answer = ask(page, path)

    assert answer.status == 404
    assert answer.error == "there is nothing of that name"


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /events?type=%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(
    page: str, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = raw(page, request_)

    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert ask(page, "/healthz").status == 200
    assert caplog.records == []  # or whoever can connect could fill the log of the program


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "encore_session_80=guess"},
        {"Cookie": f"encore_session_80={TOKEN}"},
        {"Cookie": "encore_session_80"},
        {"Cookie": "\xff=;;;"},
    ],
)
def test_without_the_token_nothing_is_told(closed: str, path: str, headers: dict[str, str]) -> None:
    port = str(urlsplit(closed).port)
    answer = ask(closed, path, headers={name: value.replace("_80", f"_{port}") for name, value in headers.items()})

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-security-policy"] == POLICY
    assert "Authorization: Bearer" in answer.error


def test_the_token_does_not_go_into_the_address(closed: str) -> None:
    assert ask(closed, f"/api/operations?token={TOKEN}").status == 401


def test_the_token_lets_a_program_in(closed: str) -> None:
    assert ask(closed, "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(closed, "/api/operations", headers={"Authorization": f"bearer {TOKEN}"}).status == 200


def test_health_can_be_asked_without_the_token_and_tells_nothing(closed: str) -> None:
    assert ask(closed, "/healthz").text == '{"status":"ok"}'


def test_a_link_logs_one_browser_in(guarded: Monitor, closed: str) -> None:
    link = guarded.new_login()
    assert link is not None
    path = link.removeprefix(closed.rstrip("/"))

    answer = ask(closed, path)
    morsel = SimpleCookie(answer.headers["set-cookie"])[f"encore_session_{urlsplit(closed).port}"]

    assert answer.status == 200
    assert morsel["httponly"]
    assert morsel["samesite"] == "strict"
    assert morsel["path"] == "/"
    assert TOKEN not in answer.headers["set-cookie"]
    assert ask(closed, "/api/operations", headers={"Cookie": cookie_of(answer)}).status == 200
    assert ask(closed, path).status == 401
    assert ask(closed, path, headers={"Cookie": cookie_of(answer)}).status == 200  # the same browser, once more
    refused = ask(closed, path, headers={"Accept": "text/html"})
    assert (refused.status, refused.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "this link has been used" in refused.text


@pytest.mark.parametrize("others", ['theme={"a":1}; ', "foo; ", "a=b c; "])
def test_cookies_of_other_programs_are_no_hindrance(guarded: Monitor, closed: str, others: str) -> None:
    link = guarded.new_login()
    assert link is not None
    cookie = others + cookie_of(ask(closed, link.removeprefix(closed.rstrip("/"))))

    assert ask(closed, "/api/operations", headers={"Cookie": cookie}).status == 200


@pytest.mark.parametrize("path", ["/login", "/login?code=", "/login?code=guess", f"/login?code={TOKEN}"])
def test_a_link_cannot_be_guessed(closed: str, path: str) -> None:
    answer = ask(closed, path)

    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_where_nobody_has_to_log_in_a_link_is_none(page: str) -> None:
    assert ask(page, "/login").status == 401
    assert ask(page, "/login?code=guess", headers={"Cookie": "encore_session_80=guess"}).status == 401


def test_a_session_is_of_one_server(guarded: Monitor, closed: str, manager: EventManager) -> None:
    link = guarded.new_login()
    assert link is not None
    cookie = cookie_of(ask(closed, link.removeprefix(closed.rstrip("/"))))

    with monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=TOKEN) as other:
        assert other.page is not None
        assert ask(other.page, "/metrics", headers={"Cookie": cookie}).status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_what_others_can_reach_needs_a_token(manager: EventManager, host: str) -> None:
    with pytest.raises(TokenError, match=r"pass token=\.\.\. with something like secrets\.token_urlsafe\(32\)"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, host=host)


@pytest.mark.parametrize("token", ["", "short", "é" * 20, "with a\nnewline in it"])
def test_a_token_that_could_be_guessed_or_never_be_sent_is_refused(manager: EventManager, token: str) -> None:
    with pytest.raises(TokenError, match="at least 16 printable ASCII characters"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=token)


@pytest.mark.parametrize("token", [f" {TOKEN}", f"{TOKEN} "])
def test_a_token_that_loses_its_spaces_on_the_way_is_refused(manager: EventManager, token: str) -> None:
    with pytest.raises(TokenError, match="something else than a space"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=token)


@pytest.mark.parametrize(
    ("client", "token", "open_to_all", "status"),
    [
        ("198.51.100.7", None, False, 403),
        ("198.51.100.7", None, True, 200),
        ("198.51.100.7", TOKEN, False, 401),
        ("127.0.0.1", None, False, 200),
        ("::1", None, False, 200),
        (None, None, False, 200),
    ],
)
def test_without_a_token_an_application_answers_this_machine_alone(
    client: str | None, token: str | None, open_to_all: bool, status: int, manager: EventManager
) -> None:
    app = create_app(manager, token=token, open_to_all=open_to_all)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/api/operations",
        "query_string": b"",
        "root_path": "",
    }
    scope |= {"headers": [(b"host", b"localhost")], "client": client and (client, 1234), "server": ("203.0.113.5", 80)}
    sent = list[Any]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    app.state.feed.disconnect()

    assert sent[0]["status"] == status


def test_connections_that_ask_for_nothing_are_hung_up_on(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.05)

    assert raw(page, b"GET / HTT") == b""
    assert raw(page, b"") == b""


def test_connections_that_are_too_many_are_hung_up_on(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    with monitor(manager, logs=False, registry=CollectorRegistry(), port=0) as served:
        assert served.page is not None
        place = urlsplit(served.page)
        kept = [socket.create_connection((place.hostname, place.port)) for _ in range(3)]
        assert raw(served.page, b"") == b""
        for each in kept:
            each.close()
        page = served.page
        assert until(lambda: b"ok" in raw(page, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"))


def test_what_goes_wrong_inside_has_the_headers_as_well(manager: EventManager, feed: EventFeed) -> None:
    app = create_app(feed=feed)
    feed.activity.in_flight = None  # type: ignore[assignment, method-assign]  # so that it goes wrong
    with serving(app) as server:
        answer = ask(server.address, "/api/operations")

    assert answer.status == 500
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_version_of_openmetrics_that_is_none_gets_text(page: str) -> None:
    answer = ask(page, "/metrics", headers={"Accept": "application/openmetrics-text;version=x"})

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_feed_has_its_own_keys(feed: EventFeed) -> None:
    with pytest.raises(TypeError, match="give them to EventFeed"):
        create_app(feed=feed, keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_a_server_on_all_addresses_is_known_by_addresses_and_by_what_was_allowed(
    manager: EventManager, host: str
) -> None:
    with monitor(
        manager,
        logs=False,
        registry=CollectorRegistry(),
        port=0,
        host=host,
        token=TOKEN,
        allowed_hosts=["Metrics.example."],
    ) as served:
        assert served.page is not None
        hosts = ["10.1.2.3", "[fe80::1]", "metrics.example", socket.gethostname(), "evil.example"]
        statuses = [ask(served.page, "/healthz", headers={"Host": host}).status for host in hosts]

    assert statuses == [200, 200, 200, 200, 400]
