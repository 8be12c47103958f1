"""A program with many clients of one event stream, some of which never read; it counts what arrives.

It prints two lines of JSON: one when all clients are connected, and the counts of each client once all have read the
last event.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from dataclasses import dataclass


@dataclass
class Count:
    """The messages that one client has received."""

    events: int = 0
    gaps: int = 0


class Reader(asyncio.Protocol):
    """A client that counts events and gaps until the event with the word 'last'."""

    def __init__(self, host: str, connected: asyncio.Barrier, finished: asyncio.Future[Count]) -> None:
        self._host = host
        self._connected = connected
        self._finished = finished
        self._count = Count()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET /events HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._count.events += line.startswith(b"data: {")
            self._count.gaps += line.startswith(b"event: gap")
            if line.startswith(b"retry:"):
                self._waiting = asyncio.ensure_future(self._connected.wait())
            if b'"word":"last"' in line and not self._finished.done():
                self._finished.set_result(self._count)


async def main(host: str, port: int, count: int, stalled: int) -> None:
    loop = asyncio.get_running_loop()
    connected = asyncio.Barrier(count + 1)
    finished = [loop.create_future() for _ in range(count)]
    idle = [await asyncio.open_connection(host, port, limit=1) for _ in range(stalled)]
    for _, writer in idle:
        writer.write(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    for future in finished:
        client = functools.partial(Reader, f"{host}:{port}", connected, future)
        await loop.create_connection(client, host, port)
    await connected.wait()
    sys.stdout.write(json.dumps({"connected": count}) + "\n")
    sys.stdout.flush()
    counts = await asyncio.gather(*finished)
    sys.stdout.write(json.dumps([[one.events, one.gaps] for one in counts]) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
