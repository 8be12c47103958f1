"""A server of files for the tests of clients."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import LocalServer


class FileServer(LocalServer):
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
        super().__init__(self._handler())

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
                    owner.sent += len(body)  # before, since the client may look at once
                    self.wfile.write(body)
                    if len(body) < len(data):
                        self.close_connection = True

            def _start(self, status: HTTPStatus, headers: dict[str, str], size: int) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(size)}.items():
                    self.send_header(name, value)
                self.end_headers()

            def date_time_string(self, timestamp: float | None = None) -> str:
                return "Sat, 28 Nov 2026 12:00:00 GMT"  # answers are compared

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler
