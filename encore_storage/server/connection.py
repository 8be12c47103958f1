"""One connection of a client, which has its limits: in number, and in time without a request."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_CONNECTIONS = 1100
"""How many connections are open at once: the streams, and some for everything else."""

REQUEST_SECONDS = 10.0
"""Within how long a client has to ask for something."""

_SHARE = 0.75  # of the files that the process may have open: the stores need some, too


def most_connections() -> int:
    """How many connections this process can afford."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, int(soft * _SHARE))


class _ForWhoDebugs(logging.LoggerAdapter[logging.Logger]):
    """Has warnings logged at the level of debugging: what clients do wrong is told to them, and no trouble here."""

    @property
    def level(self) -> int:
        return self.logger.level

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


class HttpConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    """uvicorn's own, which hangs up on clients that are too many, or that never finish a request."""

    logger: Any
    _asked_last: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, or hang up at once."""
        super().connection_made(transport)
        self.logger = _ForWhoDebugs(self.logger)
        if len(self.connections) > most_connections():
            transport.abort()
            return
        self.loop.call_later(REQUEST_SECONDS, self._look)

    def _look(self) -> None:
        cycle: Any = self.cycle
        is_idle = cycle is None or (cycle.response_complete and cycle is self._asked_last)
        if self.transport.is_closing():
            return
        if is_idle:
            self.transport.abort()
            return
        self._asked_last = cycle
        self.loop.call_later(REQUEST_SECONDS, self._look)
