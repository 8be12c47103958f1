"""A client of an event stream that reconnects and resumes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from encore_storage.cli.address import EventsAddress, Query
from encore_storage.cli.errors import EXAMPLE, EventsAddressError, RefusedError, UnreachableError
from encore_storage.formatting import printable

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 45.0  # until a connection counts as lost; the server sends a heartbeat every 15 seconds
RETRY_SECONDS = 1.0  # the pause before reconnecting, unless the server sets one
LONGEST_RETRY_SECONDS = 10.0
_SHORTEST_RETRY_SECONDS = 0.1

MOST_BYTES = 16 * 1024 * 1024  # between two complete messages
_MOST_OF_AN_ERROR = 4096  # bytes
_EVENT_ID = re.compile(r"[!-~]{1,200}")

_FORBIDDEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Follower:
    """An endless iterable of the messages of an event stream.

    After the first connection it reconnects forever, and resumes after the last message received.

    Args:
        address: of the stream.
        query: selects events, and where to start.
        token: access token of the server, or None.
        notify: called with a sentence when the connection is lost, and when it is restored.
        silence: seconds without data after which the connection counts as lost.
        sleep: waits for the given seconds.

    Raises:
        EventsAddressError: the address cannot be used.
        RefusedError: the server refuses to send events.
        UnreachableError: the first connection fails.
    """

    def __init__(
        self,
        address: EventsAddress,
        query: Query = (),
        *,
        token: str | None = None,
        notify: Callable[[str], object],
        silence: float = SILENCE_SECONDS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._address = address
        given = [pair for pair in address.query if pair[0] != "since" or "since" not in dict(query)]
        self._url = _url(address, [*given, *query])
        self._token = token
        self._notify = notify
        self._silence = silence
        self._sleep = sleep
        self._position: str | None = None
        self._retry = self._pause = RETRY_SECONDS
        self._has_been_connected = self._is_lost = False

    def __repr__(self) -> str:
        return f"<Follower of {self._address.shown}, at {self._position}>"

    def __iter__(self) -> Iterator[ServerSentEvent]:
        with self._client() as client:
            while True:
                try:
                    yield from self._connection(client)
                    reason = "the server closed it"
                except httpx.RequestError as error:
                    reason = self._reason(error)
                    if not self._has_been_connected:
                        raise UnreachableError(f"cannot read {self._address.shown}: {reason}") from error
                except UnreachableError as error:
                    reason = str(error)
                    if not self._has_been_connected:
                        raise
                self._wait(reason)

    def _client(self) -> httpx.Client:
        headers = {"Accept-Encoding": "identity"}
        if self._token is not None:
            is_printable_ascii = self._token.isascii() and self._token.isprintable()
            if not self._token or not is_printable_ascii or self._token != self._token.strip():
                raise RefusedError("the token must be printable ASCII, without a space at either end")
            headers["Authorization"] = f"Bearer {self._token}"
        timeout = httpx.Timeout(CONNECT_SECONDS, read=self._silence)
        try:
            return httpx.Client(headers=headers, timeout=timeout, trust_env=not self._address.is_loopback)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise RefusedError(f"cannot use the proxy set in the environment: {printable(str(error))}") from error

    def _connection(self, client: httpx.Client) -> Iterator[ServerSentEvent]:
        headers = {} if self._position is None else {"Last-Event-ID": self._position}
        with connect_sse(client, "GET", str(self._url), headers=headers) as source:
            self._check(source.response)
            stream = source.response.stream = _BoundedStream(source.response.stream, self._address)
            if self._is_lost:
                self._notify("reconnected")
            self._has_been_connected, self._is_lost = True, False
            for message in source.iter_sse():
                stream.unread = 0
                self._update_position(message)
                yield message

    def _update_position(self, message: ServerSentEvent) -> None:
        if message.retry is not None:
            self._retry = min(max(message.retry / 1000, _SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
        if _EVENT_ID.fullmatch(message.id):
            self._position = message.id
        self._pause = self._retry

    def _wait(self, reason: str) -> None:
        if not self._is_lost:
            self._notify(f"connection lost: {reason}; reconnecting")
        self._is_lost = True
        self._sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_RETRY_SECONDS)

    def _reason(self, error: httpx.RequestError) -> str:
        if isinstance(error, httpx.ReadTimeout):
            return f"no data for {self._silence:.0f} s"
        if isinstance(error, httpx.RemoteProtocolError):
            if self._has_been_connected:
                return "the response was cut off"
            return f"the server is not a page of Encore ({printable(str(error))})"
        return re.sub(r"^\[Errno -?\d+\] ", "", printable(str(error))) or type(error).__name__

    def _check(self, response: httpx.Response) -> None:
        """Raise an error unless the response is an event stream."""
        status, shown = response.status_code, self._address.shown
        if status == HTTPStatus.OK:
            content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if content_type != "text/event-stream":
                received = printable(content_type) or "no content type"
                raise RefusedError(
                    f"{shown} sent {received}, not events: give the address of a page, such as {EXAMPLE}"
                )
            response.headers["content-type"] = content_type  # httpx_sse compares case-sensitively
            return
        answer = f"{shown} answers {status}: {_error_message(response)}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnreachableError(answer)
        raise RefusedError(f"{answer}; {self._advice(response)}")

    def _advice(self, response: httpx.Response) -> str:
        status = response.status_code
        if status in _FORBIDDEN:
            problem = "the token is wrong" if self._token else "a token is required"
            return f"{problem}: pass it with --token or ENCORE_TOKEN"
        if response.has_redirect_location:
            return f"give its new address, {printable(response.headers['location'])}"
        if status == HTTPStatus.BAD_REQUEST:
            return "see encore tail --help"
        return f"give the address of a page, such as {EXAMPLE}"


class _BoundedStream(httpx.SyncByteStream):
    """The bytes of a response, with a limit between two messages."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, address: EventsAddress) -> None:
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 (the client is one)
        self._stream = stream
        self._address = address
        self.unread = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self.unread += len(chunk)
            if self.unread > MOST_BYTES:
                raise RefusedError(f"{self._address.shown} sent more than {MOST_BYTES:,} bytes without an event")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _url(address: EventsAddress, query: Query) -> httpx.URL:
    try:
        url = httpx.URL(address.url, params=query)
        _ = url.host  # parsed only when read
    except (httpx.InvalidURL, UnicodeError) as error:
        raise EventsAddressError(address.url) from error
    return url


def _error_message(response: httpx.Response) -> str:
    """Return the error message of a response, or else its reason phrase."""
    body = b""
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_OF_AN_ERROR:
                return printable(response.reason_phrase)
        message = json.loads(body)["error"]
    except (httpx.RequestError, ValueError, LookupError, TypeError, RecursionError):
        message = None
    return printable(message if isinstance(message, str) else response.reason_phrase)
