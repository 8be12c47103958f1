"""An application on a port, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import importlib
import os
import socket
from typing import Any

from encore_events import forks
from encore_storage.subscribers.errors import ANOTHER_HOST, ANOTHER_PORT, AddressError, MissingExtraError
from encore_storage.subscribers.owned_thread import OwnedThread

try:
    import uvicorn

    from encore_storage.server.connection import HttpConnection
except ModuleNotFoundError as error:
    raise MissingExtraError("serving on a port", (error.name or "uvicorn").partition(".")[0], "server") from error

_LATE = (
    "uvloop",
    "uvicorn.loops.auto",
    "uvicorn.loops.asyncio",
    "uvicorn.lifespan.off",
    "anyio._backends._asyncio",
    "anyio._core._fileio",
)
"""What is only imported where it is first needed, as far as it is there: in the server's thread."""

_LAST_PORT = 65535
_GRACE = 2  # seconds that open connections get at the end


class Server:
    """Serves an ASGI application until `close()`, in a daemon thread. A forked child leaves it to its parent.

    Args:
        app: what to serve.
        host: the address to listen on.
        port: 0 takes one that is free.

    Attributes:
        port: where it listens.

    Raises:
        AddressError: the port is taken, or can't be had (an OSError).
    """

    def __init__(self, app: Any, host: str, port: int) -> None:
        """Listen; whoever connects before the thread runs is answered as soon as it does."""
        self.host = host
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=HttpConnection,
            log_config=None,  # how a program logs is its own affair
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        _prepare()
        self._server = uvicorn.Server(config)
        run = functools.partial(self._server.run, sockets=[self._socket])
        self._thread = OwnedThread(run, self._socket.close, name="encore-server")
        forks.renew_in_child(self, Server._leave)
        try:
            self._thread.start()
        except BaseException:
            self._server.should_exit = True
            raise

    def __repr__(self) -> str:
        """Where it serves."""
        return f"<Server at {self.address}>"

    @property
    def address(self) -> str:
        """Its root, such as 'http://127.0.0.1:9464/'."""
        host = "127.0.0.1" if self.host in {"", "0.0.0.0"} else "::1" if self.host == "::" else self.host  # noqa: S104 (compared with)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def close(self) -> None:
        """Serve no more; doing so twice does nothing, and nor does it in a forked child."""
        if self._thread.is_own:
            self._server.should_exit = True
            self._thread.join()

    def _leave(self) -> None:
        """Give up the sockets in a forked child, or they would stay open as long as it lives.

        Their numbers stay taken: what thinks that it has to close one of them closes nothing else.
        """
        connections = [one.transport.get_extra_info("socket") for one in list(self._server.server_state.connections)]
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (a number of a file is all that is wanted)
            for each in (self._socket, *connections):
                if self._is_still(each):
                    os.dup2(nothing.fileno(), each.fileno(), inheritable=False)

    def _is_still(self, one: Any) -> bool:
        """Return whether it is still one of the server's sockets."""
        with contextlib.suppress(OSError):  # the child has closed it, before it noticed the fork
            return bool(one.getsockname()[1] == self.port)
        return False


def _prepare() -> None:
    """Do here what takes a lock of Python's own in the thread: a child that is forked meanwhile could never do it."""
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    asyncio.new_event_loop().close()


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        raise AddressError(host, port, f"a port is a number from 0 to {_LAST_PORT}")
    try:
        is_name = b"\0" not in host.encode("idna")  # as sockets would encode it
    except UnicodeError:
        is_name = False
    if not is_name:
        raise AddressError(host, port, "no host can have that name", ANOTHER_HOST)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        number, words = error.errno or 0, error.strerror or str(error)
        reason = os.strerror(number) if number > 0 else words.partition(" (")[0]  # below, numbers are of the resolver
        is_of_the_port = number in {errno.EADDRINUSE, errno.EACCES}
        raise AddressError(host, port, reason, ANOTHER_PORT if is_of_the_port else ANOTHER_HOST) from error
