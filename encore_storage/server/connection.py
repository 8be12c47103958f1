"""The HTTP connections of a server, limited in number and in idle time."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from encore_events.loggers import IsolatedLogger

MAX_CONNECTIONS = 1100  # for all streams, and some more for other requests
REQUEST_SECONDS = 10.0  # the longest time that a connection may be open without a request
MAX_HEADER_BYTES = 32 * 1024  # of a request's line and headers together
_PIECE = 8 * 1024  # bytes that are parsed at once: h11 limits incomplete requests only
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)
_SHARE = 0.75  # of the process's limit of open files: the stores need some, too


def most_connections() -> int:
    """Return the maximum number of connections, given the process's limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, int(soft * _SHARE))


class _DebugLogger(IsolatedLogger):
    """A logger that lowers warnings to debug: malformed requests are the client's fault, and answered."""

    @property
    def level(self) -> int:
        return self.logger.level

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


class HttpConnection(H11Protocol):
    """uvicorn's protocol, which drops connections above the limit, and those without a complete request.

    Always the protocol based on h11: the one based on httptools doesn't limit the size of a request's headers.
    """

    logger: Any
    cycle: Any  # None before the first request
    _last_cycle: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept the connection, or drop it if there are too many."""
        super().connection_made(transport)
        self.logger = _DebugLogger(self.logger)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > most_connections():
            transport.abort()
            return
        self.loop.call_later(REQUEST_SECONDS, self._drop_if_idle)

    def data_received(self, data: bytes) -> None:
        """Parse the data in pieces, so that no request grows much beyond the limit before it is refused."""
        for start in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _PIECE])

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, and close the connection; only close it after a response to the same request."""
        cycle, is_answered = self.cycle, False
        if cycle is not None and (cycle.more_body or not cycle.response_complete):
            is_answered = cycle.response_started
            cycle.disconnected = True  # the application sends nothing more
            cycle.message_event.set()
        if not is_answered:  # not through h11, which refuses the body if the method was HEAD
            self.transport.write(_BAD_REQUEST % (len(msg), msg.encode()))
        self.transport.close()

    def _drop_if_idle(self) -> None:
        cycle = self.cycle
        is_idle = cycle is None or (cycle.response_complete and cycle is self._last_cycle)
        if self.transport.is_closing():
            return
        if is_idle:
            self.transport.abort()
            return
        self._last_cycle = cycle
        self.loop.call_later(REQUEST_SECONDS, self._drop_if_idle)
