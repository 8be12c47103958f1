"""`encore tail` with servers that refuse, disconnect, fall silent or send garbage."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from encore_storage.cli import following
from encore_storage.cli.address import EventsAddress
from encore_storage.cli.errors import RefusedError
from encore_storage.cli.following import Follower
from tests.cli.conftest import Encore
from tests.cli.scripted import STREAM, ScriptedServer, answer, event, running
from tests.cli.support import Result, finish, start

LOST = "-- connection lost: the server closed it; reconnecting\n"
BACK = "-- reconnected\n"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def refused(server: ScriptedServer, response: bytes, *options: str) -> Result:
    """Run the command with a server that sends the response and closes."""
    process = start("tail", server.url, *options)
    server.accept(response).close()
    return finish(process)


@pytest.mark.parametrize(
    ("status", "options", "advice"),
    [
        ("400 Bad Request", (), "see encore tail --help"),
        ("401 Unauthorized", (), "a token is required: pass it with --token or ENCORE_TOKEN"),
        (
            "401 Unauthorized",
            ("--token", "wrong"),
            "the token is wrong: pass it with --token or ENCORE_TOKEN",
        ),
        ("403 Forbidden", (), "a token is required: pass it with --token or ENCORE_TOKEN"),
        ("404 Not Found", (), "give the address of a page, such as http://127.0.0.1:9464"),
        ("429 Too Many Requests", (), "give the address of a page, such as http://127.0.0.1:9464"),
    ],
)
def test_refusal_shows_the_error_of_the_server(
    server: ScriptedServer, status: str, options: tuple[str, ...], advice: str
) -> None:
    result = refused(server, answer(status, b'{"error": "because \\u001b[2J"}'), *options)

    assert result == (2, "", f"encore: {server.url} answers {status[:3]}: because \\x1b[2J; {advice}\n")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"error": 5}', b"[]", b"\xff\xfe", b"[" * 100_000, b'{"error": "' + b"x" * 100_000 + b'"}'],
)
def test_refusal_without_an_error_shows_the_reason_phrase(server: ScriptedServer, body: bytes) -> None:
    result = refused(server, answer("404 Not Found", body))

    assert result.status == 2
    assert result.err.startswith(f"encore: {server.url} answers 404: Not Found; give the address of a page")


def test_truncated_refusal_is_a_refusal(server: ScriptedServer) -> None:
    result = refused(server, answer("404 Not Found", b'{"err', {"Content-Length": "100"}))

    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "answers 404: Not Found" in result.err


def test_busy_server_is_reported(server: ScriptedServer) -> None:
    result = refused(server, answer("503 Service Unavailable", b'{"error": "there are 1000 clients already"}'))

    assert result == (1, "", f"encore: {server.url} answers 503: there are 1000 clients already\n")


def test_redirect_is_reported_and_not_followed(server: ScriptedServer) -> None:
    result = refused(server, answer("301 Moved Permanently", headers={"Location": "https://elsewhere/events"}))

    assert result.status == 2
    assert result.err == (
        f"encore: {server.url} answers 301: Moved Permanently; give its new address, https://elsewhere/events\n"
    )


@pytest.mark.parametrize(
    ("content_type", "received"), [("text/html; charset=utf-8", "text/html"), ("", "no content type")]
)
def test_other_content_type_is_reported(server: ScriptedServer, content_type: str, received: str) -> None:
    result = refused(server, answer("200 OK", b"<html>", {"Content-Type": content_type}))

    assert result.status == 2
    assert result.err == (
        f"encore: {server.url} sent {received}, not events: give the address of a page, such as http://127.0.0.1:9464\n"
    )


@pytest.mark.parametrize("response", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\r\n\r\n", b""])
def test_server_without_http_is_reported(server: ScriptedServer, response: bytes) -> None:
    result = refused(server, response)

    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith(f"encore: cannot read {server.url}: the server is not a page of Encore (")


def test_refused_connection_is_reported(encore: Encore, server: ScriptedServer) -> None:
    server.close()

    assert encore("tail", server.url) == (1, "", f"encore: cannot read {server.url}: Connection refused\n")


def test_invalid_token_is_refused(encore: Encore) -> None:
    for token in ("a\nb", "é", "secret ", " secret"):
        result = encore("tail", "localhost", "--token", token)
        assert (result.status, result.err.count("\n")) == (2, 1)
        assert "token" in result.err
        assert token.strip() not in result.err


def test_invalid_proxy_is_reported(encore: Encore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")

    result = encore("tail", "http://events.invalid")

    assert (result.status, result.err.count("\n")) == (2, 1)
    assert result.err.startswith("encore: cannot use the proxy set in the environment: ")


def test_loopback_bypasses_the_proxy(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert refused(server, answer("404 Not Found")).err.startswith(f"encore: {server.url} answers 404")


def test_options_are_sent_to_the_server(server: ScriptedServer) -> None:
    options = ["--type", "*.ended", "--type", "a b&c", "--store", "é", "--operation", "get", "--outcome", "ok"]
    since = "2026-11-24T16:30:00+01:00"
    process = start("tail", f"{server.url}/events?store=b", *options, "--since", since, "--token", "secret")
    conversation = server.accept(answer("404 Not Found"))
    finish(process)

    assert parse_qs(urlsplit(conversation.request.split()[1]).query) == {
        "type": ["*.ended", "a b&c"],
        "store": ["b", "é"],
        "operation": ["get"],
        "outcome": ["ok"],
        "since": [since],
    }
    assert conversation.headers["authorization"] == "Bearer secret"
    assert conversation.headers["accept"] == "text/event-stream"


def test_lost_connection_is_reported_once_and_restored(server: ScriptedServer) -> None:
    with running(start("tail", server.url, "--json", "--since", "0")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        server.accept(STREAM, b"retry: 100\n\n").send_event(1, key="a")
        assert json.loads(process.stdout.readline())["data"]["key"] == "a"
        server.close()
        assert process.stderr.readline() == LOST

        again = ScriptedServer(server.port)
        again.accept(answer("502 Bad Gateway")).close()
        again.accept().close()
        back = again.accept(STREAM)
        back.send_event(2, key="b")

        assert json.loads(process.stdout.readline())["data"]["key"] == "b"
        assert process.stderr.readline() == BACK
        assert back.headers["last-event-id"] == "0a1b2c3d-1"
        again.close()


def test_truncated_response_is_reported(server: ScriptedServer) -> None:
    with running(start("tail", server.url, "--json")) as process:
        assert process.stderr is not None
        chunked = STREAM.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.accept(chunked, b"100\r\nretry: 100\n\n").close()

        assert process.stderr.readline() == LOST.replace("the server closed it", "the response was cut off")


def test_content_type_is_case_insensitive(encore: Encore, server: ScriptedServer) -> None:
    def serve() -> None:
        server.accept(STREAM.replace(b"text/event-stream", b"Text/Event-Stream;charset=UTF-8"), message(1)).close()
        server.accept(answer("410 Gone")).close()

    with ThreadPoolExecutor() as pool:
        serving = pool.submit(serve)
        result = encore("tail", server.url, "--json")
        serving.result()

    assert result.out == f"{event(1)}\n"


def test_message_without_data_updates_the_position(server: ScriptedServer) -> None:
    with running(start("tail", server.url)):
        server.accept(STREAM, b"retry: 1\n\n", b": still here\nid: 0a1b2c3d-7\n\n").close()
        back = server.accept(STREAM)

    assert back.headers["last-event-id"] == "0a1b2c3d-7"


def test_incomplete_event_is_requested_again(server: ScriptedServer) -> None:
    with running(start("tail", server.url, "--json")) as process:
        assert process.stdout is not None
        first = server.accept(STREAM, b"retry: 1\n\n")
        first.send_event(1, key="a")
        first.send(b'id: 0a1b2c3d-2\ndata: {"type": ')
        first.close()
        back = server.accept(STREAM)
        back.send_event(2, key="b")

        assert [json.loads(process.stdout.readline())["data"]["key"] for _ in "ab"] == ["a", "b"]
        assert back.headers["last-event-id"] == "0a1b2c3d-1"


@pytest.mark.parametrize("id_", [b"\xc3\xa9", b"a\x01b", b"x" * 300, b"a b"])
def test_invalid_id_is_not_remembered(server: ScriptedServer, id_: bytes) -> None:
    with running(start("tail", server.url)):
        server.accept(STREAM, b"retry: 1\nid: 0a1b2c3d-7\n\n", b"id: %b\n\n" % id_).close()
        back = server.accept(STREAM)

    assert back.headers["last-event-id"] == "0a1b2c3d-7"


def test_refusal_after_a_connection_ends_the_tail(server: ScriptedServer) -> None:
    process = start("tail", server.url)
    server.accept(STREAM, b"retry: 1\n\n").close()
    server.accept(answer("401 Unauthorized"))
    result = finish(process)

    assert result.status == 2
    assert result.err.startswith(f"{LOST}encore: {server.url} answers 401: Unauthorized; a token is required")


def show(encore: Encore, server: ScriptedServer, stream: bytes, *options: str) -> Result:
    """Run the command on the stream, and end it with a refusal."""

    def serve() -> None:
        server.accept(STREAM, b"retry: 1\n\n", stream).close()
        server.accept(answer("410 Gone")).close()

    with ThreadPoolExecutor() as pool:
        serving = pool.submit(serve)
        result = encore("tail", server.url, *options)
        serving.result()
    refusal = f"encore: {server.url} answers 410: Gone; give the address of a page, such as http://127.0.0.1:9464\n"
    assert result.status == 2
    assert result.err.endswith(LOST + refusal)
    return result._replace(err=result.err.removesuffix(LOST + refusal))


def message(number: int, **data: object) -> bytes:
    return f"data: {event(number, **data)}\n\n".encode()


def test_invalid_events_are_reported_once_and_ignored(encore: Encore, server: ScriptedServer) -> None:
    garbage = [b"nonsense", b'{"type": 5}', b"[1]", b"[" * 100_000, b"\xff\x00"]
    news = b"event: news\ndata: {}\n\nfield: 5\n\n: comment\n\nid\n\nretry: soon\n\ndata\n\n"

    result = show(encore, server, b"".join(b"data: %b\n\n" % data for data in garbage) + news + message(1), "--json")

    assert result.out == f"{event(1)}\n"
    assert result.err == "-- ignoring messages that are not events\n"


def test_started_events_are_hidden_by_default(encore: Encore, server: ScriptedServer) -> None:
    started = b'data: {"type": "encore.storage.operation.started", "data": {"operation": "set"}}\n\n'

    result = show(encore, server, started + message(1, key="reports/q3", duration=0.25))
    whole = show(encore, server, started, "--type", "*")

    assert result.out.split()[-7:] == ["get", "reports/q3", "11", "B", "250", "ms", "ok"]
    assert result.out.count("\n") == 1
    assert whole.out.split()[1:] == ["set", "started"]


def test_multiline_json_is_joined(encore: Encore, server: ScriptedServer) -> None:
    result = show(encore, server, b'data: {\ndata: "type": "a.b",\ndata: "n": 5}\n\n', "--json")

    assert result.out == '{ "type": "a.b", "n": 5}\n'


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ('{"missed": 1234, "reason": "buffer"}', "1,234 events were missed"),
        ('{"missed": 1, "reason": "buffer"}', "1 event was missed"),
        ('{"missed": null, "reason": "buffer"}', "some events were missed"),
        ('{"missed": null, "reason": "restart"}', "the program was restarted"),
        (
            '{"missed": null, "reason": "handover", "process": 42}',
            "another process of the program, 42, serves the page now: some events may be missing",
        ),
        ('{"missed": null, "reason": "handover", "process": "42"}', "some events were missed"),
        ("nonsense", "some events were missed"),
        ("[]", "some events were missed"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_gap_is_reported_on_standard_error(
    encore: Encore, server: ScriptedServer, data: str, sentence: str, options: tuple[str, ...]
) -> None:
    result = show(encore, server, f"event: gap\nid: 0a1b2c3d-9\ndata: {data}\n\n".encode(), *options)

    assert (result.out, result.err) == ("", f"-- {sentence}\n")


def test_silent_connection_is_restored(server: ScriptedServer) -> None:
    sentences: list[str] = []
    address = EventsAddress.parse(server.url)
    with ThreadPoolExecutor() as pool:
        messages = iter(Follower(address, notify=sentences.append, silence=0.05, sleep=lambda _: None))
        first = pool.submit(next, messages)
        server.accept(STREAM)
        server.accept(STREAM, message(1))

        assert first.result().json()["id"] == "0a1b2c3d-1"
    assert sentences[0] == "connection lost: no data for 0 s; reconnecting"
    assert sentences[1] == "reconnected"


def test_endless_message_is_refused(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 1_000_000)
    follower = Follower(EventsAddress.parse(server.url), notify=print)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(list, follower)
        conversation = server.accept(STREAM)
        pool.submit(conversation.send, b"x" * 2_000_000)

        with pytest.raises(RefusedError, match="more than 1,000,000 bytes without an event"):
            first.result()
        conversation.close()


def test_reconnect_pause_follows_the_server_and_grows(server: ScriptedServer) -> None:
    waits: list[float] = []
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            stopped.set()
            raise KeyboardInterrupt

    follower = Follower(EventsAddress.parse(server.url), notify=lambda _: None, sleep=sleep)
    with ThreadPoolExecutor() as pool:
        following_events = pool.submit(list, follower)
        server.accept(STREAM, b"retry: 500\n\n").close()
        server.accept(STREAM, b"retry: -5\n\n").close()
        server.accept(STREAM, b"retry: 2000\n\n").close()
        server.close()
        assert stopped.wait(30)
        with pytest.raises(KeyboardInterrupt):
            following_events.result()

    assert waits == [0.5, 0.1, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert repr(follower) == f"<Follower of {server.url}, at None>"
