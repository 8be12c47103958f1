"""The worker behind `emit(block=False)`: one thread, one bounded queue, first in, first out.

Everything that an emitter touches is a `SimpleQueue`, whose `put` and `get` may be interrupted by a
garbage collection that emits in its turn; a lock of ours could not.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import contextvars
import functools
import os
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from encore_events.trouble import is_telling, with_trouble

CAPACITY = 10_000
"""How many events may wait; the next emitter waits for a place."""

EXIT_SECONDS = 5.0
"""How long the exit of the interpreter waits for what is queued."""

Job = Callable[[], object]


class EmitHandle:
    """What `emit(block=False)` gives: whether the event has been dispatched."""

    __slots__ = ("_finished", "_waiting")

    def __init__(self) -> None:
        """Make a handle of an event that waits."""
        self._finished = False
        # Not a threading.Event: its own lock may be held when a garbage collection emits, and waits for the worker.
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every listener has run, or for `timeout` seconds; whether they have."""
        if not self._finished and self._waiting.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
            self._waiting.release()
        return self._finished

    def done(self) -> bool:
        """Whether every listener has run."""
        return self._finished

    def finish(self) -> None:
        """Say that there is nothing more to wait for. For the bus."""
        self._finished = True
        self._waiting.release()

    def __repr__(self) -> str:
        """Whether it is done."""
        return f"<EmitHandle: {'done' if self.done() else 'waiting'}>"


class Worker:
    """Runs jobs one after the other in a thread of its own, each in the context it was given in."""

    def __init__(self, dropped: Callable[[str, int], None], *, capacity: int = CAPACITY) -> None:
        """Start the thread. `dropped` hears, at its end, why and how many jobs were not done in time."""
        self._dropped = dropped
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(capacity):
            self._places.put(None)
        self._process = os.getpid()
        self._thread = self._started()
        self._stopped = self._thread is None
        atexit.register(self._exit)

    def run(self, job: Job) -> None:
        """Queue the job, waiting for a place if need be; on the worker's own thread, run it at once."""
        if threading.get_ident() == self._thread:
            job()
            return
        self._places.get()
        context, places = contextvars.copy_context(), self._places
        in_context = functools.partial(with_trouble, job) if is_telling() else job

        def take_turn() -> None:
            places.put(None)
            context.run(in_context)

        self._put(take_turn)

    def flush(self, timeout: float | None = None) -> bool:
        """Have all done that was queued before this call; whether it was, within `timeout` seconds."""
        if threading.get_ident() == self._thread:
            self._run_all()
            return True
        flushed = EmitHandle()
        self._put(flushed.finish)
        return flushed.join(timeout)

    def close(self, timeout: float | None, reason: str = "close") -> None:
        """Flush, then end the thread; what was not done in time is told to `dropped`."""
        if not self.flush(timeout):
            self._dropped(reason, self._jobs.qsize() - 1)  # the last one is the flush's own
        self.stop()

    def stop(self) -> None:
        """Let the thread end after what is queued. Waits for nothing, so a garbage collection may call it."""
        atexit.unregister(self._exit)
        self._stopped = True
        self._jobs.put(None)

    def _started(self) -> int | None:
        """The new thread, or None where there can be no more: at the exit of the interpreter."""
        try:
            # threading.Thread takes a lock when it starts, and a collection may emit while that lock is held.
            return _thread.start_new_thread(_begin, (self._jobs,))
        except RuntimeError:
            return None

    def _put(self, job: Job) -> None:
        self._jobs.put(job)
        if self._stopped:  # the thread may have ended without seeing the job
            self._run_all()

    def _exit(self) -> None:
        if self._process == os.getpid():
            self.close(EXIT_SECONDS, "exit")

    def _run_all(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    _run(job)
        if self._stopped:
            self._jobs.put(None)  # what ends the thread was taken out with the rest


def _begin(jobs: SimpleQueue[Job | None]) -> None:  # pragma: no cover (seen only from its end on)
    """Let debuggers and coverage see what runs here, as in any threading.Thread."""
    sys.setprofile(threading.getprofile())
    sys.settrace(threading.gettrace())
    _work(jobs)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    threading.current_thread().name = "encore-events"
    while (job := jobs.get()) is not None:
        _run(job)
        del job  # while it waits, the worker keeps nothing alive


def _run(job: Job) -> None:
    try:
        job()
    except BaseException:  # noqa: BLE001 (as a thread's own: shown by the hook, and the next job runs)
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
