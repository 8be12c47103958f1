"""Helpers to run the real server and to request it over real sockets."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from encore_storage.server.serving import Server

T = TypeVar("T")

TOKEN = "correct-horse-battery-staple"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
PATHS = ["/", "/events", "/api/operations", "/metrics", "/page/index.html", "/page/app.js"]

LONG = 30.0
"""Seconds that a test waits for another thread before it fails."""


class Response(NamedTuple):
    """A response of the server."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        """The message of an error response."""
        return str(self.json["error"])


class Message(NamedTuple):
    """A message of an event stream, parsed by the rules of the HTML standard."""

    event: str
    id: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def fetch(page: str, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
    """Return the server's response; `headers` override the default ones."""
    place = urlsplit(page)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=LONG)
    try:
        sent = {"Host": place.netloc, **(headers or {})}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Response(response.status, dict(response.headers.items()), response.read().decode())
    finally:
        connection.close()


class Client:
    """A client of an event stream; a context manager.

    Attributes:
        status: the status of the response.
        headers: the headers of the response.
    """

    def __init__(self, page: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Request the stream, and wait for the headers of the response."""
        place = urlsplit(page)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=LONG)
        self._connection.request("GET", path, headers=dict(headers or {}))
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = dict(self._response.headers.items())
        self.retry = 0
        self.comments = 0
        self._last_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._response.close()

    def messages(self) -> Iterator[Message]:
        """Yield the messages until the stream ends."""
        event, data = "message", list[str]()
        for raw in self._response:
            line = raw.decode().rstrip("\n")
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                if data:
                    yield Message(event, self._last_id, "\n".join(data))
                event, data = "message", []
            elif name == "":
                self.comments += 1
            elif name == "event":
                event = value
            elif name == "id":
                self._last_id = value
            elif name == "data":
                data.append(value)
            elif name == "retry":
                self.retry = int(value)
            else:
                raise AssertionError(f"unknown field of an event stream: {line!r}")

    def next(self) -> Message:
        """Return the next message."""
        return next(self.messages())

    def take(self, count: int) -> list[Message]:
        """Return the next messages."""
        return [self.next() for _ in range(count)]


@contextmanager
def serving(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """Serve the application for a block."""
    server = Server(app, host, port)
    try:
        yield server
    finally:
        app.state.close()
        server.close()


def until(condition: Callable[[], T], timeout: float = LONG) -> T:
    """Wait until the condition is true, and return its result."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never became true"
        threading.Event().wait(0.005)
    return found
