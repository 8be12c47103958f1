"""A server that sends exactly what a test specifies."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cli.support import TIMEOUT

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Conversation:
    """One connection of a client.

    Attributes:
        request: the request line and the headers.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(TIMEOUT)
        self.request = ""
        while "\r\n\r\n" not in self.request:
            data = connection.recv(65536).decode("latin-1")
            assert data, f"the client hung up after {self.request!r}"
            self.request += data

    @property
    def headers(self) -> dict[str, str]:
        lines = self.request.rstrip().split("\r\n")[1:]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def send_event(self, number: int, **data: Any) -> None:
        """Send the event with this number."""
        self.send(b"id: 0a1b2c3d-%d\ndata: %b\n\n" % (number, event(number, **data).encode()))

    def close(self) -> None:
        self._connection.close()

    def wait_for_close(self) -> None:
        """Wait until the client closes the connection."""
        while self._connection.recv(65536):
            pass


class ScriptedServer:
    """A server whose responses are written by the test."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.settimeout(TIMEOUT)
        self._conversations: list[Conversation] = []
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def accept(self, *responses: bytes) -> Conversation:
        """Accept the next request and send the responses."""
        self._conversations.append(Conversation(self._socket.accept()[0]))
        for data in responses:
            self._conversations[-1].send(data)
        return self._conversations[-1]

    def close(self) -> None:
        """Close the port and all connections."""
        for conversation in self._conversations:
            conversation.close()
        self._socket.close()


def event(number: int, **data: Any) -> str:
    """Return the CloudEvent of an ended operation as JSON."""
    values = {"store": "archive", "operation": "get", "direction": "read", "outcome": "ok", "bytes": 11, **data}
    attributes = {"specversion": "1.0", "id": f"0a1b2c3d-{number}", "source": "/stores/archive"}
    return json.dumps(
        {**attributes, "type": "encore.storage.operation.ended", "time": "2026-11-24T16:30:00Z", "data": values}
    )


def answer(status: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a response that is not a stream."""
    all_headers = {"Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in all_headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process after the block and close its pipes."""
    with process:
        try:
            yield process
        finally:
            process.kill()
