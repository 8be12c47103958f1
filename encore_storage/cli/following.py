"""Follows a stream of events: finds back into it when the connection was lost, where it left off."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from encore_storage.cli.address import EXAMPLE, EventsAddress, EventsAddressError, RefusedError, UnreachableError
from encore_storage.cli.lines import printable

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 45.0
"""After how long a server that says nothing is taken for dead; it tells that it lives each 15 seconds."""

RETRY_SECONDS = 1.0
"""How long to wait before another try, where the server has not said so."""

LONGEST_RETRY_SECONDS = 10.0
_SHORTEST_RETRY_SECONDS = 0.1

MOST_BYTES = 16 * 1024 * 1024
"""How much may come before the first, or the next, message ends."""

_MOST_OF_AN_ANSWER = 4096  # bytes: a sentence
_EVENT_ID = re.compile(r"[!-~]{1,200}")

_FORBIDDEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

Query = Sequence[tuple[str, str]]


class Follower:
    """The messages of a stream of events, one after the other, for as long as anybody asks for the next.

    Once it has been connected, it tries again for ever, and asks for what came after the last message that it saw.

    Args:
        address: where to read.
        query: which events, and since when.
        token: what the server asks for, or None.
        say: takes a sentence when the connection is lost, and when it is back.
        silence: seconds without a word after which the connection counts as lost.
        sleep: waits so many seconds.

    Raises:
        EventsAddressError: the address can't be used.
        RefusedError: what answers there gives no events.
        UnreachableError: nobody answers, and nobody has yet.
    """

    def __init__(
        self,
        address: EventsAddress,
        query: Query = (),
        *,
        token: str | None = None,
        say: Callable[[str], object],
        silence: float = SILENCE_SECONDS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Make it; nothing is asked before it is iterated."""
        self._address = address
        given = [pair for pair in address.query if pair[0] != "since" or "since" not in dict(query)]
        self._url = _url(address, [*given, *query])
        self._token = token
        self._say = say
        self._silence = silence
        self._sleep = sleep
        self._position: str | None = None
        self._retry = self._pause = RETRY_SECONDS
        self._has_been_connected = self._is_lost = False

    def __repr__(self) -> str:
        """What it follows, and how far it is."""
        return f"<Follower of {self._address.shown}, at {self._position}>"

    def __iter__(self) -> Iterator[ServerSentEvent]:
        """Give each message as it comes."""
        with self._client() as client:
            while True:
                try:
                    yield from self._connection(client)
                    reason = "the server has ended it"
                except httpx.RequestError as error:
                    reason = self._reason(error)
                    if not self._has_been_connected:
                        raise UnreachableError(f"{self._address.shown} can't be read: {reason}") from error
                except UnreachableError as error:
                    reason = str(error)
                    if not self._has_been_connected:
                        raise
                self._wait(reason)

    def _client(self) -> httpx.Client:
        headers = {"Accept-Encoding": "identity"}
        if self._token is not None:
            if not (self._token.isascii() and self._token.isprintable()):
                raise RefusedError("the token is none that a program can ask for: there is more in it than ASCII")
            if self._token != self._token.strip() or not self._token:
                raise RefusedError(
                    "the token is none that a program can ask for: it is empty, or begins or ends with a space"
                )
            headers["Authorization"] = f"Bearer {self._token}"
        timeout = httpx.Timeout(CONNECT_SECONDS, read=self._silence)
        try:
            return httpx.Client(headers=headers, timeout=timeout, trust_env=not self._address.is_loopback)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise RefusedError(
                f"the proxy that the environment names can't be used: {printable(str(error))}"
            ) from error

    def _connection(self, client: httpx.Client) -> Iterator[ServerSentEvent]:
        """The messages of one connection."""
        headers = {} if self._position is None else {"Last-Event-ID": self._position}
        with connect_sse(client, "GET", str(self._url), headers=headers) as source:
            self._check(source.response)
            stream = source.response.stream = _Bounded(source.response.stream, self._address)
            self._connected()
            for message in source.iter_sse():
                stream.unread = 0
                self._remember(message)
                yield message

    def _connected(self) -> None:
        if self._is_lost:
            self._say("the connection is back")
        self._has_been_connected, self._is_lost = True, False

    def _remember(self, message: ServerSentEvent) -> None:
        if message.retry is not None:
            self._retry = min(max(message.retry / 1000, _SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
        if _EVENT_ID.fullmatch(message.id):
            self._position = message.id
        self._pause = self._retry

    def _wait(self, reason: str) -> None:
        if not self._is_lost:
            self._say(f"the connection is lost: {reason}; trying again until it is back")
        self._is_lost = True
        self._sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_RETRY_SECONDS)

    def _reason(self, error: httpx.RequestError) -> str:
        """What went wrong, in words for people."""
        if isinstance(error, httpx.ReadTimeout):
            return f"nothing was heard for {self._silence:.0f} s"
        if isinstance(error, httpx.RemoteProtocolError):
            if self._has_been_connected:
                return "it broke off"
            return f"what answers there is no page of Encore ({printable(str(error))})"
        return re.sub(r"^\[Errno -?\d+\] ", "", printable(str(error))) or type(error).__name__

    def _check(self, response: httpx.Response) -> None:
        """Go on only with a stream of events."""
        status, shown = response.status_code, self._address.shown
        if status == HTTPStatus.OK:
            content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if content_type != "text/event-stream":
                told = printable(content_type) or "something else"
                raise RefusedError(f"{shown} gives no events but {told}: give the address of a page, such as {EXAMPLE}")
            response.headers["content-type"] = content_type  # httpx_sse knows it in small letters alone
            return
        said = f"{shown} answers {status}: {_sentence(response)}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnreachableError(said)
        raise RefusedError(f"{said}; {self._advice(response)}")

    def _advice(self, response: httpx.Response) -> str:
        status = response.status_code
        if status in _FORBIDDEN:
            given = "the token is not the one that this program asks for" if self._token else "no token was given"
            return f"{given}: give it with --token, or as ENCORE_TOKEN"
        if response.has_redirect_location:
            return f"give the address that it has moved to, {printable(response.headers['location'])}"
        if status == HTTPStatus.BAD_REQUEST:
            return "see encore tail --help"
        return f"give the address of a page, such as {EXAMPLE}"


class _Bounded(httpx.SyncByteStream):
    """The bytes of an answer, as long as messages come out of them."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, address: EventsAddress) -> None:
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 (the client is one)
        self._stream = stream
        self._address = address
        self.unread = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self.unread += len(chunk)
            if self.unread > MOST_BYTES:
                raise RefusedError(f"{self._address.shown} tells something without an end, and no events")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _url(address: EventsAddress, query: Query) -> httpx.URL:
    try:
        url = httpx.URL(address.url, params=query)
        _ = url.host  # only now it is found out whether there can be one
    except (httpx.InvalidURL, UnicodeError) as error:
        raise EventsAddressError(address.url) from error
    return url


def _sentence(response: httpx.Response) -> str:
    """What a server says that gives no events: its own sentence, or what its status stands for."""
    body = b""
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_OF_AN_ANSWER:
                return printable(response.reason_phrase)
        said = json.loads(body)["error"]
    except (httpx.RequestError, ValueError, LookupError, TypeError, RecursionError):
        said = None
    return printable(said if isinstance(said, str) else response.reason_phrase)
