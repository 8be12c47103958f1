"""Unix sockets in the directory of a group."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from encore_events.forks import this_process
from encore_storage.processes.descriptors import OwnDescriptor, opening
from encore_storage.processes.errors import SocketPathError

_MODE = 0o600
_BACKLOG = 1024
_CONNECT_SECONDS = 1.0
_MAX_ADDRESS = 100  # bytes; systems allow 104 to 108
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


class OwnSocket(socket.socket):
    """A socket of one process: a forked child closes its copy, which would keep the connection open.

    Args:
        opened: the socket, which this one replaces.
        own: from the block of `opening()` in which it was opened.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, opened: socket.socket, own: Callable[[int], OwnDescriptor]) -> None:
        kind = opened.family, opened.type, opened.proto  # eventlet's sockets do not find these out by themselves
        super().__init__(*kind, fileno=opened.detach())
        self._descriptor = own(self.fileno())

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection of this process's own. The socket must be non-blocking."""
        with opening() as own:
            connected, address = super().accept()
            return OwnSocket(connected, own), address

    def close(self) -> None:
        """Close the socket. The other end notices even if another process has a copy."""
        this_process()  # or a child, forked without hooks, would end the connection of its parent
        with contextlib.suppress(OSError):  # it was never connected, or no more
            self.shutdown(socket.SHUT_RDWR)
        super().close()


def own_socket(family: int) -> OwnSocket:
    """Return a new stream socket, neither bound nor connected."""
    with opening() as own:
        return OwnSocket(socket.socket(family, socket.SOCK_STREAM), own)


def own_pair() -> tuple[OwnSocket, OwnSocket]:
    """Return two sockets connected to each other."""
    with opening() as own:
        one, other = socket.socketpair()
        return OwnSocket(one, own), OwnSocket(other, own)


def listen(path: Path) -> OwnSocket:
    """Return a non-blocking socket that listens at `path`, and accept this user's processes only.

    The path must be in a directory that only this user can write to. A socket that a killed process of this user has
    left there is replaced.

    Raises:
        SocketPathError: something else is at the path.
        OSError: the socket cannot be made.
    """
    _remove_socket(path)
    listening = own_socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(OSError):  # on Linux, the mode of the new file; elsewhere, refused
            os.fchmod(listening.fileno(), _MODE)
        with _address(path) as address:
            listening.bind(address)
        path.chmod(_MODE)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except BaseException:
        listening.close()
        raise
    return listening


def connect(path: Path) -> OwnSocket:
    """Return a non-blocking socket connected to the process of this user that listens at `path`.

    Raises:
        SocketPathError: another user listens there.
        OSError: nobody listens there.
    """
    connected = own_socket(socket.AF_UNIX)
    try:
        connected.settimeout(_CONNECT_SECONDS)
        with _address(path) as address:
            connected.connect(address)
        _check_own(connected, path)
        connected.settimeout(0)
    except BaseException:
        connected.close()
        raise
    return connected


def is_own(connected: socket.socket) -> bool:
    """Return whether the other end belongs to this user, where the system says so; else, the directory protects."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    credentials = connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1]) == os.geteuid()


def remove(path: Path, status: os.stat_result) -> None:
    """Remove a socket's file, unless another one has replaced it."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), status):
            path.unlink()


def _check_own(connected: socket.socket, path: Path) -> None:
    if not is_own(connected):
        raise SocketPathError(path, "another user listens there")


def _remove_socket(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise SocketPathError(path, "something else than a socket is there")
    if status.st_uid != os.geteuid():
        raise SocketPathError(path, "a socket of another user is there")
    path.unlink()


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield an address of the path that is short enough for a socket."""
    address = os.fspath(path)
    if len(os.fsencode(address)) <= _MAX_ADDRESS or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        yield address
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
