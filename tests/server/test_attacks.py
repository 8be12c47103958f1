"""Attacks on the server: foreign hosts, other methods, malformed requests, too many connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote, urlsplit

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from encore_events import BaseEvent, EventManager
from encore_storage import monitor
from encore_storage.server import EventFeed, connection, create_app
from encore_storage.server.query import Position, parse_query
from encore_storage.server.sse import EventStreams
from encore_storage.server.ticker import Ticker
from tests.server.support import PATHS, POLICY, TOKEN, fetch, serving, until


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """Return the page of a server without a token."""
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0) as served:
        assert served.page is not None
        yield served.page


def raw(page: str, request: bytes) -> bytes:
    """Send the bytes, and return all that the server sends until it closes or resets the connection."""
    place, response = urlsplit(page), b""
    with socket.create_connection((place.hostname, place.port), 30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        while piece := connection.recv(65536):
            response += piece
    return response


@pytest.mark.parametrize("path", [*PATHS[:1], *PATHS[2:], "/healthz", "/nothing"])
def test_every_response_has_security_headers(page: str, path: str) -> None:
    response = fetch(page, path)

    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert "server" not in response.headers


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}])
def test_response_has_no_cors_headers(page: str, headers: dict[str, str]) -> None:
    for path in ["/", "/api/operations", "/metrics", "/nothing"]:
        response = fetch(page, path, headers=headers)
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
        assert response.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/login"])
def test_methods_other_than_get_are_refused(page: str, method: str, path: str) -> None:
    response = fetch(page, path, method=method)

    assert response.status == 405
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]", "[::1", "localhost:x"],
)
def test_unknown_host_is_refused(page: str, host: str) -> None:
    for path in ["/", "/events", "/api/operations", "/metrics", "/healthz"]:
        response = fetch(page, path, headers={"Host": host})
        assert response.status == 400
        assert "unknown host " in response.error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234", "localhost.", "[::1]:80", "[::1]"])
def test_own_host_is_accepted(page: str, host: str) -> None:
    assert fetch(page, "/healthz", headers={"Host": host}).status == 200


def test_request_without_exactly_one_host_is_refused(page: str) -> None:
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
def test_malformed_query_is_refused(page: str, query: str) -> None:
    response = fetch(page, f"/events?{query}")

    assert response.status == 400
    assert 20 < len(response.error) < 400


def test_query_that_accepts_nothing_does_not_block_the_loop(manager: EventManager) -> None:
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
            pieces.append("other")
        ticker.close()
        reading.cancel()

    async def count(stream: AsyncIterator[bytes]) -> None:
        async for _ in stream:
            pieces.append("stream")

    asyncio.run(read())
    feed.disconnect()

    assert pieces[:2] == ["stream", "other"] or pieces[:2] == ["other", "stream"]
    assert pieces.count("other") == 20
    assert pieces.index("other", 5) < 12


def test_malformed_last_event_id_is_refused(page: str) -> None:
    response = fetch(page, "/events", headers={"Last-Event-ID": "1; DROP TABLE events"})

    assert response.status == 400
    assert "invalid Last-Event-ID '1; DROP TABLE events': use the id of a message" in response.error


def test_operations_refuses_unknown_parameters(page: str) -> None:
    assert fetch(page, "/api/operations?stroe=a").error == "unknown parameter 'stroe': use store or process"


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
def test_only_files_of_the_page_are_served(page: str, path: str) -> None:
    response = fetch(page, path)

    assert response.status == 404
    advice = "use /, /events, /api/operations, /metrics or /healthz"
    assert response.error == f"unknown path {unquote(path)!r}: {advice}"


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
def test_malformed_request_is_refused_and_not_logged(
    page: str, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    response = raw(page, request_)

    assert response == b"" or response.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert fetch(page, "/healthz").status == 200
    assert caplog.records == []  # a client must not be able to fill the log


@pytest.mark.parametrize(
    "start", ["GET /healthz", "GET /events", "GET /metrics", "GET /page/app.js", "GET /nothing", "HEAD /", "POST /"]
)
@pytest.mark.parametrize("body", [b"ZZ\r\n", b"3\r\nabcdef\r\n", b"0\r\nno header\r\n\r\n"])
def test_malformed_body_ends_the_connection_and_is_not_logged(
    page: str, start: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    place = urlsplit(page)
    request = f"{start} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((place.hostname, place.port), 30) as client:
        client.sendall(request)
        client.recv(65536)  # the response has begun
        client.sendall(body)
        with contextlib.suppress(ConnectionError):
            while client.recv(65536):
                pass

    assert raw(page, request + body).startswith(b"HTTP/1.1 400")
    assert fetch(page, "/healthz").status == 200
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_malformed_second_request_is_refused_and_not_logged(
    page: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = raw(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n\x00\x01\r\n\r\n".encode())

    assert response.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400" in response
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "status"), [(90, b"200"), (101, b"431"), (60_000, b"400")], ids=["some", "many", "bytes"]
)
def test_number_and_size_of_headers_are_limited(page: str, headers: int, status: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"a:b\r\n" * headers + b"\r\n"

    assert raw(page, request).startswith(b"HTTP/1.1 " + status)


def test_idle_connection_is_closed(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.05)

    assert raw(page, b"GET / HTT") == b""
    assert raw(page, b"") == b""


def test_connection_above_the_limit_is_closed(manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_internal_error_has_security_headers(manager: EventManager, feed: EventFeed) -> None:
    app = create_app(feed=feed)
    feed.own.activity.in_flight = None  # type: ignore[assignment, method-assign]  # so that it raises
    with serving(app) as server:
        response = fetch(server.address, "/api/operations")

    assert response.status == 500
    assert response.headers["content-security-policy"] == POLICY
    assert response.headers["x-content-type-options"] == "nosniff"


def test_metrics_with_an_invalid_version_are_answered(page: str) -> None:
    accept = "application/openmetrics-text;version=x"
    try:
        _, expected = choose_encoder(accept)  # prometheus_client before 0.22 looks at no version
    except (TypeError, ValueError):
        expected = "text/plain"

    response = fetch(page, "/metrics", headers={"Accept": accept})

    assert response.status == 200
    assert response.headers["content-type"].startswith(expected)


def test_create_app_refuses_keys_beside_a_feed(feed: EventFeed) -> None:
    with pytest.raises(TypeError, match="pass them to EventFeed"):
        create_app(feed=feed, keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_server_on_all_addresses_accepts_addresses_and_allowed_hosts(manager: EventManager, host: str) -> None:
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
        statuses = [fetch(served.page, "/healthz", headers={"Host": host}).status for host in hosts]

    assert statuses == [200, 200, 200, 200, 400]
