"""A thread that takes events out of a stream in batches."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from encore_events import forks
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent
from encore_events.stream import EventStream
from encore_storage.subscribers.owned_thread import OwnedThread

Batch = list[tuple[float, BaseEvent]]


class Pump:
    """Passes the events of a stream to `consume`, in order and in batches, in a thread of its own.

    It sleeps while nothing happens, and takes a batch each `interval` seconds while much happens, so that emitters
    hardly ever have to wake it. It ends with the stream, or with `stop()`, which the interpreter calls at its exit. A
    forked child leaves it to its parent, and consumes nothing.

    Args:
        stream: the events; nobody else should read it.
        consume: takes a list of (seconds since the epoch, event); an error that it raises ends the pump.
        interval: seconds between two batches.
        name: the name of the thread.
        at_end: called once, after the last batch: in the thread, or if that never began, by the caller of `stop()`.
    """

    def __init__(
        self,
        stream: EventStream[BaseEvent],
        consume: Callable[[Batch], object],
        *,
        interval: float,
        name: str,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a pump that is not started."""
        self._stream = stream
        self._consume = consume
        self._interval = interval
        self._at_end = at_end
        self._stopping = threading.Event()
        self._thread = OwnedThread(self._run, self._end, name=name)
        forks.renew_in_child(self, Pump._leave)

    def __repr__(self) -> str:
        """Return the stream, and whether the pump is running."""
        return f"<Pump of {self._stream!r}{', running' * self._thread.is_alive}>"

    def start(self) -> None:
        """Start the thread; if there can be no more threads (a RuntimeError), the pump is stopped."""
        atexit.register(self.stop)
        try:
            self._thread.start()
        except BaseException:
            self._stream.close()
            self._stopping.set()
            raise

    def stop(self) -> None:
        """Close the stream, consume the events that it still holds, and end; doing so twice does nothing.

        A forked child has no such thread, but copies of its locks: there, it only closes the stream.
        """
        self._stream.close()
        if self._thread.is_own:
            self._stopping.set()
            if self._thread.join():
                atexit.unregister(self.stop)

    def _run(self) -> None:
        try:
            while self._stream.wait():
                self._consume(self._stream.drain())
                if not self._thread.is_own:
                    return  # `consume` has forked, and this is the child
                self._stopping.wait(self._interval)
        except ForkedError:  # the same
            return

    def _end(self) -> None:
        self._stream.close()  # also where `consume` fails: nobody takes the rest
        self._at_end()

    def _leave(self) -> None:
        atexit.unregister(self.stop)
