"""The connections of the other processes of a group to the one that serves the page."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from encore_events import forks
from encore_events.loggers import get_logger
from encore_storage.processes import sockets
from encore_storage.processes.errors import FrameError
from encore_storage.processes.frames import BYE, EVENTS, HELLO, MAX_FRAME, TAKEN, FrameReader, read_hello
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.owned_thread import OwnedThread

logger = get_logger("encore_storage")

MAX_MEMBERS = 1000
PAUSE_SECONDS = 0.02  # between two rounds of reads
_READ = 256 * 1024  # bytes of one connection in a round
_ROUND = 512 * 1024  # bytes of all connections in a round: what floods is slowed down, and drops its own events
_MAX_GREETING = 4096  # bytes
_GREETING_SECONDS = 5.0

InFlight = Mapping[tuple[str, str], int]
"""The number of operations in flight by store and operation."""

Vanished = Callable[[ProcessInfo, InFlight], object]
"""Called with a process that has vanished, and what it had in flight."""


class Member(Protocol):
    """Takes what one process sends."""

    def take_events(self, payload: bytes) -> None:
        """Take the payload of an EVENTS frame. Raises FrameError."""

    def take_state(self, payload: bytes) -> None:
        """Take a message with changes of the state. Raises FrameError."""

    def leave(self, *, vanished: bool) -> InFlight:
        """Take the end of the process, and return what it had in flight."""


class Destination(Protocol):
    """Takes what all processes send."""

    def join(self, process: ProcessInfo) -> Member:
        """Return what takes the events and states of a process that has connected."""


def log_vanished(process: ProcessInfo, in_flight: InFlight) -> None:
    """Log a process that has ended without closing its connection, as a warning if it had operations in flight.

    Others may have ended as they wished: `os._exit()` closes nothing.
    """
    level = logging.WARNING if in_flight else logging.INFO
    counts = (
        f"{operation} of {store!r}" + f" ({count})" * (count > 1) for (store, operation), count in in_flight.items()
    )
    operations = ", ".join(counts) or "nothing"
    logger.log(level, "process %d (%s) has vanished with %s in flight", process.pid, process.name, operations)


class Receiver:
    """Listens on a socket, and passes on what the processes of this user send, in a thread of its own.

    A connection that sends anything but frames is closed. Forked children release the sockets.

    Args:
        path: of the socket, in a directory that only this user can write to.
        destination: takes the events and states, in the receiver's thread.
        on_vanished: called in the receiver's thread when a process ends without closing its connection.
    """

    def __init__(self, path: Path, destination: Destination, *, on_vanished: Vanished = log_vanished) -> None:
        self.path = path
        self._destination = destination
        self._on_vanished = on_vanished
        self._stopping = threading.Event()
        self._connections: dict[socket.socket, _MemberConnection] = {}
        self._thread: OwnedThread | None = None
        forks.renew_in_child(self, Receiver._abandon)

    def __repr__(self) -> str:
        return f"<Receiver at {str(self.path)!r}: {len(self._connections)} connections>"

    def start(self) -> None:
        """Listen, and start the thread.

        Raises:
            SocketPathError: the path is taken by something else than a socket of this user (an OSError).
            OSError: the socket cannot be made.
        """
        with contextlib.ExitStack() as undo:
            self._selector = selectors.DefaultSelector()  # here, where a lack of descriptors is an error of the caller
            undo.callback(self._selector.close)
            self._listening = sockets.listen(self.path)
            self._file = self.path.lstat()
            self._awaken, self._awakes = sockets.own_pair()
            undo.pop_all()
        thread = self._thread = OwnedThread(self._run, self._end, name="encore-receiver")
        thread.start()

    def close(self) -> None:
        """Close all connections and remove the socket. Does nothing the second time, and in a forked child."""
        thread = self._thread
        if thread is not None and thread.is_own:
            self._stopping.set()
            with contextlib.suppress(OSError):
                self._awaken.send(b"\0")
            thread.join()

    def _run(self) -> None:
        with self._selector as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._awakes, selectors.EVENT_READ)
            assert self._thread is not None  # noqa: S101 (it runs this)
            self._thread.repeat(self._serve, self._stopping)

    def _serve(self) -> bool:
        """Take what has come, and return whether to go on."""
        ready = [key.fileobj for key, _ in self._selector.select(self._timeout())]
        if self._listening in ready:
            self._accept()
        self._read([self._connections[one] for one in ready if one in self._connections])
        self._close_silent()
        return not self._stopping.wait(PAUSE_SECONDS)

    def _timeout(self) -> float | None:
        return _GREETING_SECONDS if any(one.member is None for one in self._connections.values()) else None

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:  # no more, or no more file descriptors: then try again in the next round
                return
            if len(self._connections) >= MAX_MEMBERS or not sockets.is_own(connected):
                connected.close()
                continue
            connected.settimeout(0)
            self._connections[connected] = _MemberConnection(connected, self._destination)
            self._selector.register(connected, selectors.EVENT_READ)

    def _read(self, ready: list[_MemberConnection]) -> None:
        """Read from each connection, up to a limit for all; those that had to wait come first in the next round."""
        left = _ROUND
        for connection in sorted(ready, key=lambda one: one.read_at):
            if left <= 0:
                return
            connection.read_at = time.monotonic()
            try:
                received = connection.read(min(_READ, left))
            except FrameError as error:
                logger.warning("%r was disconnected: %s", connection, error)
                received = 0
            except Exception:
                logger.exception("%r was disconnected", connection)
                received = 0
            if not received:
                self._drop(connection)
            left -= max(received, 1)
            time.sleep(0)  # lets other threads run

    def _close_silent(self) -> None:
        """Close connections that have not introduced themselves."""
        latest = time.monotonic() - _GREETING_SECONDS
        for one in [one for one in self._connections.values() if one.member is None and one.since < latest]:
            self._drop(one)

    def _drop(self, connection: _MemberConnection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        self._connections.pop(connection.socket, None)
        in_flight = connection.close()
        if in_flight is None or connection.process is None:
            return
        try:
            self._on_vanished(connection.process, in_flight)
        except Exception:
            logger.exception("on_vanished %r failed for process %d", self._on_vanished, connection.process.pid)

    def _end(self) -> None:
        sockets.remove(self.path, self._file)
        for one in (self._listening, self._awaken, self._awakes, *self._connections):
            one.close()
        self._connections.clear()

    def _abandon(self) -> object:
        """Forget the connections in a forked child; return them, to be freed later."""
        inherited, self._connections = self._connections, {}
        return inherited


class _MemberConnection:
    """The connection of one process.

    Attributes:
        process: its description, once it has introduced itself.
        member: what takes its frames.
        read_at: when it was read last, in monotonic seconds.
        since: when it was accepted, in monotonic seconds.
    """

    def __init__(self, connected: socket.socket, destination: Destination) -> None:
        self.socket = connected
        self.process: ProcessInfo | None = None
        self.member: Member | None = None
        self.read_at = 0.0
        self.since = time.monotonic()
        self._destination = destination
        self._frames = FrameReader(lambda: _MAX_GREETING if self.member is None else MAX_FRAME)
        self._taken = 0
        self._has_said_bye = False

    def __repr__(self) -> str:
        return f"<a connection of process {'?' if self.process is None else self.process.pid}>"

    def read(self, most: int) -> int:
        """Take the frames in at most that many bytes; return the number of bytes, 0 at the end. Raises FrameError."""
        try:
            received = self.socket.recv(most)
        except BlockingIOError:
            return 1
        except OSError:
            return 0
        before = self._taken
        for kind, payload in self._frames.read(received):
            self._take(kind, payload)
        if self._taken != before:
            self._acknowledge()
        return len(received)

    def close(self) -> InFlight | None:
        """Close the connection. Return what was in flight if the process has vanished, else None."""
        self.socket.close()
        member, self.member = self.member, None
        if member is None:
            return None
        in_flight = member.leave(vanished=not self._has_said_bye)
        return None if self._has_said_bye else in_flight

    def _take(self, kind: int, payload: bytes) -> None:
        if self._has_said_bye:
            raise FrameError("a frame after the last")
        if self.member is None:
            if kind != HELLO:
                raise FrameError("no greeting")
            self.process = read_hello(payload)
            self.member = self._destination.join(self.process)
        elif kind == EVENTS:
            self.member.take_events(payload)
            self._taken += 1
        elif kind == BYE:
            self._has_said_bye = True
        elif kind == HELLO:
            raise FrameError("a second greeting")
        else:
            self.member.take_state(payload)

    def _acknowledge(self) -> None:
        """Send the number of batches taken, unless the process does not read: then a later number includes them."""
        sent = TAKEN.size
        with contextlib.suppress(OSError):  # it has ended, maybe with more to read
            sent = self.socket.send(TAKEN.pack(self._taken))
        if sent != TAKEN.size:  # the system sends so few bytes at once, or none
            raise FrameError("acknowledgements are not read")
