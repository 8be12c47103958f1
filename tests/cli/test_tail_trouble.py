"""Servers that refuse, break off, fall silent or talk nonsense: what `encore tail` says of each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from encore_storage.cli import following
from encore_storage.cli.address import EventsAddress, RefusedError
from encore_storage.cli.following import Follower
from tests.cli.conftest import Encore
from tests.cli.scripted import STREAM, Scripted, answer, event, reading
from tests.cli.support import Done, done, start

LOST = "-- the connection is lost: the server has ended it; trying again until it is back\n"
BACK = "-- the connection is back\n"


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


def refused(server: Scripted, said: bytes, *options: str) -> Done:
    """What the command says to that answer."""
    process = start("tail", server.url, *options)
    server.accept(said).close()
    return done(process)


@pytest.mark.parametrize(
    ("status", "options", "advice"),
    [
        ("400 Bad Request", (), "see encore tail --help"),
        ("401 Unauthorized", (), "no token was given: give it with --token, or as ENCORE_TOKEN"),
        (
            "401 Unauthorized",
            ("--token", "wrong"),
            "the token is not the one that this program asks for: give it with --token, or as ENCORE_TOKEN",
        ),
        ("403 Forbidden", (), "no token was given: give it with --token, or as ENCORE_TOKEN"),
        ("404 Not Found", (), "give the address of a page, such as http://127.0.0.1:9464"),
        ("429 Too Many Requests", (), "give the address of a page, such as http://127.0.0.1:9464"),
    ],
)
def test_a_refusal_is_told_with_what_the_server_says(
    server: Scripted, status: str, options: tuple[str, ...], advice: str
) -> None:
    told = refused(server, answer(status, b'{"error": "because \\u001b[2J"}'), *options)

    assert told == (2, "", f"encore: {server.url} answers {status[:3]}: because \\x1b[2J; {advice}\n")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"error": 5}', b"[]", b"\xff\xfe", b"[" * 100_000, b'{"error": "' + b"x" * 100_000 + b'"}'],
)
def test_a_refusal_without_a_sentence_is_told_by_what_its_status_means(server: Scripted, body: bytes) -> None:
    told = refused(server, answer("404 Not Found", body))

    assert told.status == 2
    assert told.err.startswith(f"encore: {server.url} answers 404: Not Found; give the address of a page")


def test_a_server_that_breaks_off_its_refusal_has_refused(server: Scripted) -> None:
    told = refused(server, answer("404 Not Found", b'{"err', {"Content-Length": "100"}))

    assert (told.status, told.err.count("\n")) == (2, 1)
    assert "answers 404: Not Found" in told.err


def test_a_server_that_is_busy_at_first_is_told(server: Scripted) -> None:
    told = refused(server, answer("503 Service Unavailable", b'{"error": "there are 1000 clients already"}'))

    assert told == (1, "", f"encore: {server.url} answers 503: there are 1000 clients already\n")


def test_where_it_has_moved_is_told_and_not_followed(server: Scripted) -> None:
    told = refused(server, answer("301 Moved Permanently", headers={"Location": "https://elsewhere/events"}))

    assert told.status == 2
    assert told.err == (
        f"encore: {server.url} answers 301: Moved Permanently; "
        "give the address that it has moved to, https://elsewhere/events\n"
    )


@pytest.mark.parametrize(("content_type", "told"), [("text/html; charset=utf-8", "text/html"), ("", "something else")])
def test_a_page_that_is_no_stream_is_told(server: Scripted, content_type: str, told: str) -> None:
    said = refused(server, answer("200 OK", b"<html>", {"Content-Type": content_type}))

    assert said.status == 2
    assert said.err == (
        f"encore: {server.url} gives no events but {told}: give the address of a page, such as http://127.0.0.1:9464\n"
    )


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\r\n\r\n", b""])
def test_what_speaks_no_http_is_told(server: Scripted, said: bytes) -> None:
    told = refused(server, said)

    assert (told.status, told.out, told.err.count("\n")) == (1, "", 1)
    assert told.err.startswith(f"encore: {server.url} can't be read: what answers there is no page of Encore (")


def test_nobody_there_is_told(encore: Encore, server: Scripted) -> None:
    server.close()

    assert encore("tail", server.url) == (1, "", f"encore: {server.url} can't be read: Connection refused\n")


def test_a_token_that_no_header_can_have_is_told(encore: Encore) -> None:
    for token in ("a\nb", "é", "secret ", " secret"):
        told = encore("tail", "localhost", "--token", token)
        assert (told.status, told.err.count("\n")) == (2, 1)
        assert "token" in told.err
        assert token.strip() not in told.err


def test_a_proxy_that_makes_no_sense_is_told(encore: Encore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")

    told = encore("tail", "http://events.invalid")

    assert (told.status, told.err.count("\n")) == (2, 1)
    assert told.err.startswith("encore: the proxy that the environment names can't be used: ")


def test_no_proxy_is_asked_for_what_is_on_this_machine(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert refused(server, answer("404 Not Found")).err.startswith(f"encore: {server.url} answers 404")


def test_what_is_asked_for_arrives(server: Scripted) -> None:
    options = ["--type", "*.ended", "--type", "a b&c", "--store", "é", "--operation", "get", "--outcome", "ok"]
    since = "2026-11-24T16:30:00+01:00"
    process = start("tail", f"{server.url}/events?store=b", *options, "--since", since, "--token", "secret")
    asked = server.accept(answer("404 Not Found"))
    done(process)

    assert parse_qs(urlsplit(asked.asked.split()[1]).query) == {
        "type": ["*.ended", "a b&c"],
        "store": ["b", "é"],
        "operation": ["get"],
        "outcome": ["ok"],
        "since": [since],
    }
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.headers["accept"] == "text/event-stream"


def test_a_lost_connection_is_told_once_and_found_again(server: Scripted) -> None:
    with reading(start("tail", server.url, "--json", "--since", "0")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        server.accept(STREAM, b"retry: 100\n\n").tell(1, key="a")
        assert json.loads(process.stdout.readline())["data"]["key"] == "a"
        server.close()
        assert process.stderr.readline() == LOST

        again = Scripted(server.port)
        again.accept(answer("502 Bad Gateway")).close()
        again.accept().close()
        back = again.accept(STREAM)
        back.tell(2, key="b")

        assert json.loads(process.stdout.readline())["data"]["key"] == "b"
        assert process.stderr.readline() == BACK
        assert back.headers["last-event-id"] == "0a1b2c3d-1"
        again.close()


def test_a_connection_that_breaks_off_is_told_in_words_of_ours(server: Scripted) -> None:
    with reading(start("tail", server.url, "--json")) as process:
        assert process.stderr is not None
        chunked = STREAM.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.accept(chunked, b"100\r\nretry: 100\n\n").close()

        assert process.stderr.readline() == LOST.replace("the server has ended it", "it broke off")


def test_a_type_of_content_may_be_in_capitals(encore: Encore, server: Scripted) -> None:
    def talk() -> None:
        server.accept(STREAM.replace(b"text/event-stream", b"Text/Event-Stream;charset=UTF-8"), message(1)).close()
        server.accept(answer("410 Gone")).close()

    with ThreadPoolExecutor() as pool:
        talking = pool.submit(talk)
        told = encore("tail", server.url, "--json")
        talking.result()

    assert told.out == f"{event(1)}\n"


def test_a_message_without_an_event_moves_the_position(server: Scripted) -> None:
    with reading(start("tail", server.url)):
        server.accept(STREAM, b"retry: 1\n\n", b": still here\nid: 0a1b2c3d-7\n\n").close()
        back = server.accept(STREAM)

    assert back.headers["last-event-id"] == "0a1b2c3d-7"


def test_half_an_event_is_asked_for_again(server: Scripted) -> None:
    with reading(start("tail", server.url, "--json")) as process:
        assert process.stdout is not None
        first = server.accept(STREAM, b"retry: 1\n\n")
        first.tell(1, key="a")
        first.say(b'id: 0a1b2c3d-2\ndata: {"type": ')
        first.close()
        back = server.accept(STREAM)
        back.tell(2, key="b")

        assert [json.loads(process.stdout.readline())["data"]["key"] for _ in "ab"] == ["a", "b"]
        assert back.headers["last-event-id"] == "0a1b2c3d-1"


@pytest.mark.parametrize("id_", [b"\xc3\xa9", b"a\x01b", b"x" * 300, b"a b"])
def test_an_id_that_no_header_can_have_is_not_remembered(server: Scripted, id_: bytes) -> None:
    with reading(start("tail", server.url)):
        server.accept(STREAM, b"retry: 1\nid: 0a1b2c3d-7\n\n", b"id: %b\n\n" % id_).close()
        back = server.accept(STREAM)

    assert back.headers["last-event-id"] == "0a1b2c3d-7"


def test_a_refusal_ends_it_whenever_it_comes(server: Scripted) -> None:
    process = start("tail", server.url)
    server.accept(STREAM, b"retry: 1\n\n").close()
    server.accept(answer("401 Unauthorized"))
    told = done(process)

    assert told.status == 2
    assert told.err.startswith(f"{LOST}encore: {server.url} answers 401: Unauthorized; no token was given")


def shown(encore: Encore, server: Scripted, said: bytes, *options: str) -> Done:
    """What the command shows of that stream, until the server wants it no more."""

    def talk() -> None:
        server.accept(STREAM, b"retry: 1\n\n", said).close()
        server.accept(answer("410 Gone")).close()

    with ThreadPoolExecutor() as pool:
        talking = pool.submit(talk)
        told = encore("tail", server.url, *options)
        talking.result()
    said_at_last = (
        f"encore: {server.url} answers 410: Gone; give the address of a page, such as http://127.0.0.1:9464\n"
    )
    assert told.status == 2
    assert told.err.endswith(LOST + said_at_last)
    return told._replace(err=told.err.removesuffix(LOST + said_at_last))


def message(number: int, **data: object) -> bytes:
    return f"data: {event(number, **data)}\n\n".encode()


def test_what_is_no_event_is_told_once_and_left_out(encore: Encore, server: Scripted) -> None:
    garbage = [b"nonsense", b'{"type": 5}', b"[1]", b"[" * 100_000, b"\xff\x00"]
    news = b"event: news\ndata: {}\n\nfield: 5\n\n: comment\n\nid\n\nretry: soon\n\ndata\n\n"

    told = shown(encore, server, b"".join(b"data: %b\n\n" % data for data in garbage) + news + message(1), "--json")

    assert told.out == f"{event(1)}\n"
    assert told.err == "-- something came that is no event, and is not shown; nor will the next be\n"


def test_lines_are_for_events(encore: Encore, server: Scripted) -> None:
    started = b'data: {"type": "encore.storage.operation.started", "data": {"operation": "set"}}\n\n'

    told = shown(encore, server, started + message(1, key="reports/q3", duration=0.25))
    whole = shown(encore, server, started, "--type", "*")

    assert told.out.split()[-7:] == ["get", "reports/q3", "11", "B", "250", "ms", "ok"]
    assert told.out.count("\n") == 1
    assert whole.out.split()[1:] == ["set", "started"]


def test_json_of_several_lines_is_one(encore: Encore, server: Scripted) -> None:
    told = shown(encore, server, b'data: {\ndata: "type": "a.b",\ndata: "n": 5}\n\n', "--json")

    assert told.out == '{ "type": "a.b", "n": 5}\n'


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ('{"missed": 1234, "reason": "buffer"}', "1,234 events were missed"),
        ('{"missed": 1, "reason": "buffer"}', "1 event was missed"),
        ('{"missed": null, "reason": "buffer"}', "events before these were missed"),
        ('{"missed": null, "reason": "restart"}', "the program was restarted"),
        ("nonsense", "events before these were missed"),
        ("[]", "events before these were missed"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_gap_is_told_on_standard_error(
    encore: Encore, server: Scripted, data: str, sentence: str, options: tuple[str, ...]
) -> None:
    told = shown(encore, server, f"event: gap\nid: 0a1b2c3d-9\ndata: {data}\n\n".encode(), *options)

    assert (told.out, told.err) == ("", f"-- {sentence}\n")


def test_a_server_that_falls_silent_is_left(server: Scripted) -> None:
    sentences: list[str] = []
    address = EventsAddress.parse(server.url)
    with ThreadPoolExecutor() as pool:
        messages = iter(Follower(address, say=sentences.append, silence=0.05, sleep=lambda _: None))
        first = pool.submit(next, messages)
        server.accept(STREAM)
        server.accept(STREAM, message(1))

        assert first.result().json()["id"] == "0a1b2c3d-1"
    assert sentences[0] == "the connection is lost: nothing was heard for 0 s; trying again until it is back"
    assert sentences[1] == "the connection is back"


def test_something_without_an_end_is_not_kept_for_ever(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 1_000_000)
    follower = Follower(EventsAddress.parse(server.url), say=print)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(list, follower)
        conversation = server.accept(STREAM)
        pool.submit(conversation.say, b"x" * 2_000_000)

        with pytest.raises(RefusedError, match="tells something without an end"):
            first.result()
        conversation.close()


def test_it_waits_as_long_as_the_server_says_and_longer_while_it_is_away(server: Scripted) -> None:
    waits: list[float] = []
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            stopped.set()
            raise KeyboardInterrupt

    follower = Follower(EventsAddress.parse(server.url), say=lambda _: None, sleep=sleep)
    with ThreadPoolExecutor() as pool:
        reading_ = pool.submit(list, follower)
        server.accept(STREAM, b"retry: 500\n\n").close()
        server.accept(STREAM, b"retry: -5\n\n").close()
        server.accept(STREAM, b"retry: 2000\n\n").close()
        server.close()
        assert stopped.wait(30)
        with pytest.raises(KeyboardInterrupt):
            reading_.result()

    assert waits == [0.5, 0.1, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert repr(follower) == f"<Follower of {server.url}, at None>"
