"""A server that runs an application in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import socket
from typing import Any

from encore_storage.processes.owned_thread import OwnedThread
from encore_storage.processes.sockets import OwnSocket, own_socket
from encore_storage.subscribers.errors import ANOTHER_HOST, ANOTHER_PORT, AddressError, MissingExtraError

try:
    import uvicorn

    from encore_storage.server.connection import MAX_HEADER_BYTES, HttpConnection
except ModuleNotFoundError as error:
    raise MissingExtraError("serving on a port", (error.name or "uvicorn").partition(".")[0], "server") from error

_LAZY_IMPORTS = (
    "uvicorn.lifespan.off",
    "anyio._backends._asyncio",
    "anyio._core._fileio",
)
"""Modules that uvicorn and Starlette import on first use, in the server's thread, if they are installed."""

_MAX_PORT = 65535
_BACKLOG = 1024
_GRACE = 2  # seconds that open connections get at shutdown


class _Server(uvicorn.Server):
    """uvicorn's server, which aborts connections that are still open after the time of grace.

    uvicorn itself would cancel their requests, and log a traceback of each.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down, whether clients read or not."""
        asyncio.get_running_loop().call_later(_GRACE, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class Server:
    """A server of an ASGI application, in a daemon thread until `close()`. Forked children close its sockets.

    Args:
        app: the ASGI application.
        host: the address to listen on.
        port: the port, or 0 for a free one.

    Attributes:
        port: the port that it listens on.

    Raises:
        AddressError: the server cannot listen on the port (an OSError).
    """

    def __init__(self, app: Any, host: str, port: int) -> None:
        """Listen and start the thread; earlier connections wait for it in the backlog."""
        self.host = host
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=HttpConnection,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            log_config=None,  # logging is the program's to configure
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE + 1,
        )
        _warm_up()
        self._server = _Server(config)
        self._thread = OwnedThread(self._run, self._socket.close, name="encore-server")
        try:
            self._thread.start()
        except BaseException:
            self._server.should_exit = True
            raise

    def __repr__(self) -> str:
        return f"<Server at {self.address}>"

    @property
    def address(self) -> str:
        """The URL of its root, such as 'http://127.0.0.1:9464/'."""
        return address_of(self.host, self.port)

    @property
    def is_alive(self) -> bool:
        """True if it runs: until `close()`, or an error of the application's or the program's own code in its loop."""
        return self._thread.is_alive

    @property
    def has_connections(self) -> bool:
        """True if a client is connected."""
        return bool(self._server.server_state.connections)

    def close(self) -> None:
        """Stop the server. A second call does nothing, nor does one in a forked child."""
        if self._thread.is_own:
            self._server.should_exit = True
            self._thread.join()

    def _run(self) -> None:
        # Always asyncio's own loop: uvloop's would block a program that is patched by gevent or eventlet.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))


def address_of(host: str, port: int) -> str:
    """Return the URL of what is served on a port of an address to listen on.

    >>> address_of("::", 9464)
    'http://[::1]:9464/'
    """
    host = "127.0.0.1" if host in {"", "0.0.0.0"} else "::1" if host == "::" else host  # noqa: S104 (a comparison)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _warm_up() -> None:
    """Import modules and make a loop before the thread does: a child forked meanwhile would inherit held locks."""
    for name in _LAZY_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    asyncio.SelectorEventLoop().close()


def _listening(host: str, port: int) -> OwnSocket:
    if not 0 <= port <= _MAX_PORT:
        raise AddressError(host, port, f"a port is a number from 0 to {_MAX_PORT}")
    try:
        is_name = b"\0" not in host.encode("idna")  # as sockets would encode it
    except UnicodeError:
        is_name = False
    if not is_name:
        raise AddressError(host, port, "not a valid host name", ANOTHER_HOST)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return _bound(family, host, port)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or str(error)  # the resolver's are negative
        is_port_error = number in {errno.EADDRINUSE, errno.EACCES}
        advice, is_taken = ANOTHER_PORT if is_port_error else ANOTHER_HOST, number == errno.EADDRINUSE
        raise AddressError(host, port, reason, advice, is_taken=is_taken) from error


def _bound(family: int, host: str, port: int) -> OwnSocket:
    """Return a socket that listens on an address, as `socket.create_server` does. It may wait for the resolver."""
    listening = own_socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
