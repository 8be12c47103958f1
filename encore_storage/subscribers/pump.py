"""A thread that reads a stream of events in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable

from encore_events import forks
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent
from encore_events.stream import EventStream
from encore_storage.processes.group import call_at_exit
from encore_storage.processes.owned_thread import OwnedThread

Batch = list[tuple[float, BaseEvent]]


class Pump:
    """A thread that passes the events of a stream to `consume`, in order and in batches.

    It sleeps while there are no events. Under load it takes one batch per `interval`, so emitters rarely have to wake
    it. It ends with the stream or with `stop()`, which also runs at the exit of the process. In a forked child, it does
    nothing.

    Args:
        stream: the events. Nobody else should read it.
        consume: called with a list of (seconds since the epoch, event). If it raises, that is logged, and the pump goes
            on with the next batch.
        interval: seconds between two batches.
        name: the name of the thread.
        at_end: called once after the last batch, in the thread; if that never began, by `stop()`.
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
        self._stream = stream
        self._consume = consume
        self._interval = interval
        self._at_end = at_end
        self._stopping = threading.Event()
        self._forget_exit: Callable[[], object] = lambda: None
        self._thread = OwnedThread(self._run, self._end, name=name)
        forks.renew_in_child(self, Pump._renew)

    def __repr__(self) -> str:
        return f"<Pump of {self._stream!r}{', running' * self._thread.is_alive}>"

    def start(self) -> None:
        """Start the thread. If that fails (a RuntimeError), the pump is stopped."""
        self._forget_exit = call_at_exit(self.stop)
        try:
            self._thread.start()
        except BaseException:
            self._stream.close()
            self._stopping.set()
            raise

    def stop(self) -> None:
        """Close the stream, consume its remaining events, and end the thread. Does nothing the second time.

        In a forked child it only closes the stream, since the child has copies of the locks but not the thread.
        """
        self._stream.close()
        if self._thread.is_own:
            self._stopping.set()
            if self._thread.join():
                self._forget_exit()

    def _run(self) -> None:
        self._thread.repeat(self._consume_batch, self._stopping)

    def _consume_batch(self) -> bool:
        """Consume what has come, and return whether more may come."""
        try:
            if not self._stream.wait():
                return False
            self._consume(self._stream.drain())
        except ForkedError:  # `consume` has forked, and this is the child
            return False
        if self._thread.is_own:  # likewise
            self._stopping.wait(self._interval)
        return True

    def _end(self) -> None:
        self._stream.close()  # also if `consume` ends the thread: nobody reads the remaining events
        self._at_end()

    def _renew(self) -> None:
        self._forget_exit()
