"""The HTTP connections of a server, limited in number and in idle time."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from encore_events.loggers import IsolatedLogger

MAX_CONNECTIONS = 1100  # for all streams, and some more for other requests
REQUEST_SECONDS = 10.0  # the longest time that a connection may be open without a request
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


class HttpConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    """uvicorn's protocol, which drops connections above the limit, and those without a complete request."""

    logger: Any
    _last_cycle: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accept the connection, or drop it if there are too many."""
        super().connection_made(transport)
        self.logger = _DebugLogger(self.logger)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > most_connections():
            transport.abort()
            return
        self.loop.call_later(REQUEST_SECONDS, self._drop_if_idle)

    def _drop_if_idle(self) -> None:
        cycle: Any = self.cycle
        is_idle = cycle is None or (cycle.response_complete and cycle is self._last_cycle)
        if self.transport.is_closing():
            return
        if is_idle:
            self.transport.abort()
            return
        self._last_cycle = cycle
        self.loop.call_later(REQUEST_SECONDS, self._drop_if_idle)
