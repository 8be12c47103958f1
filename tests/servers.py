"""Servers of the tests: those that may be missing on a machine, and those that run in a thread of the tests."""

from __future__ import annotations

import os
import threading
from http.server import ThreadingHTTPServer
from socketserver import BaseRequestHandler
from typing import NoReturn, Self

import pytest


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail it where servers are required."""
    if os.environ.get("ENCORE_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class LocalServer:
    """A server on a free port, of HTTP unless the handler speaks otherwise; it runs in a thread during its block."""

    def __init__(self, handler: type[BaseRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
