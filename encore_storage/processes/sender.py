"""The connection of a process to the one that serves the page of its group."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from encore_events import forks
from encore_events.loggers import get_logger
from encore_storage.processes import sockets
from encore_storage.processes.frames import BYE, STATE, TAKEN, Batch, events_frame, frame, hello_frame, payload_of
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.owned_thread import OwnedThread

logger = get_logger("encore_storage")

MAX_BYTES = 8 * 1024 * 1024  # of events that wait; then batches are dropped
STATE_SECONDS = 0.25  # between two states
_PHASE = 0.06  # after the full second, so that the state has all counts of the second before
_CLOSE_SECONDS = 1.0  # to send the rest
_FAILED_SECONDS = 1.0  # until a connection that failed ends: the next one may fail at once
_READ = 65536


class Source(Protocol):
    """The state of a process, for its sender."""

    @property
    def version(self) -> int:
        """A number that changes with the state."""

    def changes(self, since: Any) -> tuple[Sequence[bytes], Any]:
        """Return messages with all that is new after the cursor `since` (None: everything), and the next cursor."""


class _Waiting(NamedTuple):
    """The payload of an EVENTS frame, the number of its events, and of those dropped before it."""

    payload: bytes
    events: int
    skipped: int


class Sender:
    """Sends batches of events and, four times a second if it has changed, the state of this process.

    `put` only appends to a bounded queue. A thread writes to the connection, from `connect` to its end. What the other
    side has not acknowledged is kept, and sent again over the next connection. In a forked child the sender does
    nothing.

    Args:
        path: the socket of the serving process.
        process: the description of this process.
        source: the state; by default, none is sent.
        max_bytes: the size of the queue.
        clock: seconds since the epoch.

    Attributes:
        unsent: the number of events dropped since the queue was full.
    """

    def __init__(
        self,
        path: Path,
        process: ProcessInfo,
        *,
        source: Source | None = None,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.process = process
        self.source = source
        self.unsent = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._unacknowledged: deque[_Waiting] = deque()
        self._bytes = 0  # of both
        self._skipped = 0  # after the last batch
        self._connection: _Connection | None = None
        self._is_inherited = False
        forks.renew_in_child(self, Sender._abandon)

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"<Sender to {str(self.path)!r}: {state}, {len(self._queue)} batches waiting, {self.unsent} unsent>"

    @property
    def is_connected(self) -> bool:
        """True if the connection is open."""
        connection = self._connection
        return connection is not None and connection.is_open

    def put(self, payload: bytes, events: int) -> bool:
        """Append the payload of a batch to the queue; drop it and return False if there is no room."""
        with self._lock:
            if self._is_inherited:
                return False
            if self._bytes + len(payload) > self._max_bytes:
                self._skipped += events
                self.unsent += events
                return False
            self._queue.append(_Waiting(payload, events, self._skipped))
            self._bytes += len(payload)
            self._skipped = 0
        self._wake()
        return True

    def skip(self, count: int) -> None:
        """Report events that were dropped before they could be put."""
        with self._lock:
            self._skipped += count
        self._wake()

    def connect(self) -> bool:
        """Connect to the serving process; return whether that succeeded. It has nothing to do if it is connected."""
        connection = self._connection
        if connection is not None and not connection.is_open:
            connection.join()
        try:
            with self._connecting:
                self._connect()
        except (OSError, RuntimeError) as error:  # nobody listens, or there can be no thread any more
            logger.debug("cannot connect to %r: %s", str(self.path), error)  # not under the lock
            return False
        return True

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the end of the connection; return whether there is none."""
        connection = self._connection
        return connection is None or connection.ended.wait(timeout)

    def close(self) -> None:
        """Send the rest within a second, say goodbye, and close the connection. Does nothing in a forked child."""
        connection = self._connection
        if connection is not None:
            connection.close()

    def take_back(self) -> tuple[list[bytes], int]:
        """Empty the queue; return its payloads, and the number of events dropped after the last of them.

        The payloads include those that were sent and not acknowledged. The sender must not be connected.
        """
        with self._lock:
            self._requeue()
            payloads = [payload_of(events_frame(one.payload, one.skipped)) for one in self._queue]
            skipped = self._skipped
            self._queue.clear()
            self._bytes = self._skipped = 0
        return payloads, skipped

    def take(self) -> bytes | None:
        """Return the next frame of events, which is kept until it is acknowledged. For the connection.

        Once all batches are acknowledged, what was dropped after the last one follows with an empty batch.
        """
        with self._lock:
            if self._skipped and self.is_idle:
                self._queue.append(_Waiting(Batch().payload(), 0, self._skipped))
                self._bytes += len(self._queue[0].payload)
                self._skipped = 0
            if not self._queue:
                return None
            one = self._queue.popleft()
            self._unacknowledged.append(one)
        return events_frame(one.payload, one.skipped)

    def acknowledge(self, count: int) -> None:
        """Forget the oldest frames that were taken. For the connection."""
        with self._lock:
            for _ in range(min(count, len(self._unacknowledged))):
                self._bytes -= len(self._unacknowledged.popleft().payload)

    def requeue(self) -> None:
        """Put what was not acknowledged first in the queue. For the connection."""
        with self._lock:
            self._requeue()

    def now(self) -> float:
        """Return the time of the clock."""
        return self._clock()

    @property
    def is_idle(self) -> bool:
        """True if all batches are acknowledged."""
        return not (self._queue or self._unacknowledged)

    def _connect(self) -> None:
        """Connect, unless it is connected. Raises OSError."""
        if self.is_connected:
            return
        connected = sockets.connect(self.path)
        try:
            self._connection = _Connection(self, connected)
            self._connection.start()
        except BaseException:
            connected.close()
            raise

    def _requeue(self) -> None:
        self._queue.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()

    def _wake(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.wake()

    def _abandon(self) -> object:
        """Forget the connection in a forked child; return it, to be freed later."""
        inherited = self._connection, self._queue, self._unacknowledged
        self._lock, self._connecting = threading.Lock(), threading.Lock()
        self._queue, self._unacknowledged, self._connection = deque(), deque(), None
        self._bytes = self._skipped = 0
        self._is_inherited = True
        return inherited


class _Connection:
    """One connection and its thread.

    Attributes:
        ended: set when the connection has ended.
    """

    def __init__(self, sender: Sender, connected: socket.socket) -> None:
        self.ended = threading.Event()
        self._sender = sender
        self._socket = connected
        self._awaken, self._awakes = sockets.own_pair()
        self._awaken.settimeout(0)
        self._awakes.settimeout(0)
        self._thread = OwnedThread(self._run, self._end, name="encore-link")
        self._pending = memoryview(hello_frame(sender.process))
        self._states: deque[bytes] = deque()
        self._cursor: Any = None
        self._sent_version = -1
        self._state_due = 0.0
        self._taken = 0
        self._received = b""
        self._closing_at: float | None = None
        self._closing = threading.Event()
        self._has_said_bye = False

    @property
    def is_open(self) -> bool:
        return not self.ended.is_set()

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def close(self) -> None:
        if self._thread.is_own:
            self._closing_at = time.monotonic() + _CLOSE_SECONDS
            self._closing.set()
            self.wake()
            self._thread.join()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; or closed
            self._awaken.send(b"\0")

    def _run(self) -> None:
        try:
            self._serve()
        except OSError as error:  # no more file descriptors
            logger.debug("a connection of %r has ended: %s", self._sender, error)
            self._closing.wait(_FAILED_SECONDS)
        except Exception:
            logger.exception("a connection of %r failed", self._sender)
            self._closing.wait(_FAILED_SECONDS)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._awakes, selectors.EVENT_READ)
            while not (self._is_over() or self._has_ended()):
                if not self._pending:
                    self._pending = memoryview(self._next())
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pending else 0)
                selector.modify(self._socket, wanted)
                for key, events in selector.select(self._timeout()):
                    if key.fileobj is self._awakes:
                        self._awakes.recv(_READ)
                    elif events & selectors.EVENT_WRITE and not self._write():
                        return

    def _is_over(self) -> bool:
        """Return whether everything was sent, or the time for that has passed."""
        if self._closing_at is None:
            return False
        return (self._has_said_bye and not self._pending) or time.monotonic() >= self._closing_at

    def _has_ended(self) -> bool:
        """Read acknowledgements; return whether the other side has closed the connection."""
        try:
            received = self._socket.recv(_READ)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if not received:
            return True
        self._received += received
        whole = len(self._received) // TAKEN.size * TAKEN.size
        if whole:
            (taken,) = TAKEN.unpack_from(self._received, whole - TAKEN.size)  # they are totals: the last one counts
            self._received = self._received[whole:]
            self._sender.acknowledge(taken - self._taken)
            self._taken = taken
        return False

    def _next(self) -> bytes:
        """Return the next frame, or nothing if all has been sent."""
        sender = self._sender
        if self._state_is_due():
            self._add_states()
        if self._states:
            return frame(STATE, self._states.popleft())
        following = sender.take()
        if following is not None:
            return following
        if self._closing_at is None or self._has_said_bye or not sender.is_idle:
            return b""
        self._has_said_bye = True
        return frame(BYE)

    def _state_is_due(self) -> bool:
        source = self._sender.source
        if source is None or self._states or source.version == self._sent_version:
            return False
        # Otherwise, the clock was set back.
        waits = self._state_due - STATE_SECONDS <= self._sender.now() < self._state_due
        return self._closing_at is not None or not waits

    def _add_states(self) -> None:
        sender = self._sender
        assert sender.source is not None  # noqa: S101 (checked by the caller)
        now = sender.now()
        self._state_due = ((now - _PHASE) // STATE_SECONDS + 1) * STATE_SECONDS + _PHASE
        self._sent_version = sender.source.version  # first: a change meanwhile is sent twice rather than never
        try:
            states, self._cursor = sender.source.changes(self._cursor)
        except Exception:
            logger.exception("cannot send the state of the process")
            return
        self._states.extend(states)

    def _timeout(self) -> float | None:
        """Return the seconds until something is due, or None."""
        if self._closing_at is not None:
            return max(self._closing_at - time.monotonic(), 0.0)
        source = self._sender.source
        if source is None or source.version == self._sent_version:
            return None
        return min(max(self._state_due - self._sender.now(), 0.0), STATE_SECONDS)  # the clock may have been set

    def _write(self) -> bool:
        """Send what is possible without waiting; return whether the connection is still open."""
        try:
            self._pending = self._pending[self._socket.send(self._pending) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _end(self) -> None:
        for one in (self._socket, self._awaken, self._awakes):
            one.close()
        self._sender.requeue()
        self.ended.set()
