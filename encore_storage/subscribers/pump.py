"""A thread that takes events out of a stream in batches, for those who do more with them than a store may wait for."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

from encore_events import forks
from encore_events.errors import ForkedError
from encore_events.events import BaseEvent
from encore_events.stream import EventStream

Batch = list[tuple[float, BaseEvent]]


class Pump:
    """Gives what a stream receives to `consume`, in order and in batches, in a thread of its own.

    While nothing happens it sleeps; while much happens it takes a batch each `interval` seconds, so that emitters
    hardly ever have to wake it. It ends with the stream, or with `stop()`, which the interpreter calls at its exit. A
    forked child leaves it to its parent, and nothing is consumed there.

    Args:
        stream: what to read; nobody else should.
        consume: takes a list of (seconds since the epoch, event); what it raises ends the pump.
        interval: seconds between two batches.
        name: the name of the thread.
        at_end: called once nothing more is consumed: by that thread, or where it isn't there, by whoever stops.
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
        self._begins, self._ends = iter((True,)), iter((True,))  # to take from an iterator is one step for all threads
        self._stopping, self._over = threading.Event(), threading.Event()
        self._process = forks.this_process()
        forks.renew_in_child(self, Pump._leave)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __repr__(self) -> str:
        """What it reads, and whether it does."""
        return f"<Pump of {self._stream!r}{', running' * self._thread.is_alive()}>"

    def start(self) -> None:
        """Begin. Where there can be no more threads (a RuntimeError), it is as after the stop."""
        atexit.register(self.stop)
        try:
            self._thread.start()
        except BaseException:  # of an interrupt, too, which may find the thread running
            self._stream.close()
            self._stopping.set()
            self._end_instead()
            raise

    def stop(self) -> None:
        """Close the stream, have all consumed that it still holds, and end; doing so twice does nothing.

        A forked child has no such thread, but copies of its locks: there, nothing is waited for.
        """
        self._stream.close()
        if self._process is not forks.this_process():
            return
        self._stopping.set()
        if self._thread is threading.current_thread():
            return
        self._end_instead()
        self._over.wait()  # and only then join: interrupted, that takes a thread for one that has ended
        if self._thread.ident is not None:
            self._thread.join()
        atexit.unregister(self.stop)

    def _run(self) -> None:
        if not next(self._begins, False):
            return
        try:
            while self._stream.wait():
                self._consume(self._stream.drain())
                if self._process is not forks.current:
                    return  # `consume` has forked, and this is the child
                self._stopping.wait(self._interval)
        except ForkedError:  # the same
            return
        finally:
            if self._process is forks.current:
                self._end()
                self._over.set()

    def _end_instead(self) -> None:
        """End in place of a thread that has not begun, and now won't."""
        if next(self._begins, False):
            self._end()
            self._over.set()

    def _end(self) -> None:
        self._stream.close()  # also where `consume` fails: nobody takes the rest
        if next(self._ends, False):
            self._at_end()

    def _leave(self) -> None:
        atexit.unregister(self.stop)
