"""A server that answers what the test says, word for word; what a real one never would, too."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cli.support import LONG

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Conversation:
    """One connection of a client.

    Attributes:
        asked: the request, from its first line to its last header.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(LONG)
        self.asked = ""
        while "\r\n\r\n" not in self.asked:
            more = connection.recv(65536).decode("latin-1")
            assert more, f"the client hung up after {self.asked!r}"
            self.asked += more

    @property
    def headers(self) -> dict[str, str]:
        lines = self.asked.rstrip().split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def say(self, data: bytes) -> None:
        self._connection.sendall(data)

    def tell(self, number: int, **data: Any) -> None:
        """Send an event, which has this number."""
        self.say(b"id: 0a1b2c3d-%d\ndata: %b\n\n" % (number, event(number, **data).encode()))

    def close(self) -> None:
        self._connection.close()

    def wait_for_the_end(self) -> None:
        """Wait until the client hangs up."""
        while self._connection.recv(65536):
            pass


class Scripted:
    """Somebody who listens on a port, and whose every word is the test's."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.settimeout(LONG)
        self._conversations: list[Conversation] = []
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def accept(self, *said: bytes) -> Conversation:
        """The next request, answered with what is given."""
        self._conversations.append(Conversation(self._socket.accept()[0]))
        for data in said:
            self._conversations[-1].say(data)
        return self._conversations[-1]

    def close(self) -> None:
        """Hang up on everybody, and listen no more."""
        for conversation in self._conversations:
            conversation.close()
        self._socket.close()


def event(number: int, **data: Any) -> str:
    """An operation that ended, as a CloudEvent in JSON."""
    told = {"store": "archive", "operation": "get", "direction": "read", "outcome": "ok", "bytes": 11, **data}
    about = {"specversion": "1.0", "id": f"0a1b2c3d-{number}", "source": "/stores/archive"}
    return json.dumps({**about, "type": "encore.storage.operation.ended", "time": "2026-11-24T16:30:00Z", "data": told})


def answer(status: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """An answer that is no stream."""
    given = {"Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def reading(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A command under way, for a block; what it writes is closed afterwards, and it is killed."""
    with process:
        try:
            yield process
        finally:
            process.kill()
