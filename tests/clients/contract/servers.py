"""Servers that are killed while a client writes, and what is in the others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler
from subprocess import Popen
from typing import Any

from tests.clients.botocore_servers import SyncClients, seaweedfs
from tests.servers import LocalServer

AFTER = 2**20
"""The number of bytes after which the server is killed."""


class Relay(LocalServer):
    """A relay of TCP connections to a server, which is killed once it has been sent `AFTER` bytes."""

    def __init__(self, url: str, process: Popen[bytes]) -> None:
        self.port = int(url.rpartition(":")[2])
        self.process = process
        self.received = 0
        super().__init__(type("Handler", (RelayHandler,), {"relay": self}))


class RelayHandler(BaseRequestHandler):
    """Relays one connection."""

    relay: Relay

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.relay.port)) as server:
            back = threading.Thread(target=self.pump, args=(server, self.request))
            back.start()
            self.pump(self.request, server)
            back.join()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
                if source is self.request:
                    self.relay.received += len(data)
                    if self.relay.received > AFTER:
                        self.relay.process.kill()
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def killable_s3(folder: Path) -> Iterator[str]:
    """Run SeaweedFS behind a relay, with the bucket `bucket`, and return the URL of the relay."""
    with seaweedfs(folder) as (url, process):
        SyncClients().make("s3", url).create_bucket(Bucket="bucket")
        with Relay(url, process) as relay:
            yield relay.url
            assert process.wait(10) < 0


def stored_object(plain_s3: Any, bucket: str, key: str) -> bytes | None:
    """Return the value of an object; None if there is none."""
    try:
        data: bytes = plain_s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except plain_s3.exceptions.NoSuchKey:
        return None
    return data
