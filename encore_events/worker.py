"""The worker behind `emit(block=False)`: one thread and one bounded first-in, first-out queue.

Emitters use nothing but `SimpleQueue`s. A garbage collection that emits may interrupt their `put` and `get`; with a
lock of our own, that would deadlock.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from encore_events import forks
from encore_events.background import run_shown
from encore_events.reporting import is_reporting, run_as_reporting

__all__ = ["EmitHandle"]

CAPACITY = 10_000  # events that may wait; the next emitter waits for a free place
EXIT_SECONDS = 5.0  # that the interpreter's exit waits for queued events
Job = Callable[[], object]


class EmitHandle:
    """The state of an event emitted with `block=False`.

    An event that was queued at a fork is dispatched by the parent. In the child, `join()` returns False at once.
    """

    __slots__ = ("_finished", "_process", "_waiting")

    def __init__(self) -> None:
        self._finished = False
        self._process = forks.current
        # No threading.Event: its lock may be held when a garbage collection emits, and waits for the worker.
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until every listener has run; return whether they have."""
        if self._finished or self._process is not forks.this_process():
            return self._finished
        place = object()
        _joins.handles[place] = self
        try:
            if self._waiting.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
                self._waiting.release()
        finally:
            _joins.handles.pop(place, None)
        return self._finished

    def done(self) -> bool:
        """Return whether every listener has run."""
        return self._finished

    def finish(self) -> None:
        """Mark the event as done. For the bus."""
        self._finished = True
        self.release_waiters()

    def adopt(self) -> forks.Process:
        """Assign the event to the calling process, and return that. For the bus."""
        self._process = forks.this_process()
        return self._process

    def release_waiters(self) -> None:
        """Let all `join()`s return. For the bus."""
        try:  # noqa: SIM105 (`suppress` takes three times as long)
            self._waiting.release()
        except RuntimeError:  # a forked child has released it before
            pass

    def __repr__(self) -> str:
        return f"<EmitHandle: {'done' if self.done() else 'waiting'}>"


class _Joins:
    """The handles being joined. If a signal handler forks in a `join()`, it returns in the child."""

    def __init__(self) -> None:
        self.handles: dict[object, EmitHandle] = {}
        forks.renew_in_child(self, _Joins.abandon)

    def abandon(self) -> None:
        for handle in list(self.handles.values()):
            handle.release_waiters()


_joins = _Joins()


class Worker:
    """A thread that runs jobs one after the other, each in the context of the `run()` that queued it.

    The worker and its jobs stay in the parent at a fork; a child makes another worker.
    """

    def __init__(self, dropped: Callable[[str, int], None], *, capacity: int = CAPACITY) -> None:
        """Start the thread. `dropped` is called with the reason and number of jobs not done in time at the end."""
        self._dropped = dropped
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(capacity):
            self._places.put(None)
        self._process = forks.this_process()
        forks.renew_in_child(self, Worker._abandon)
        self._thread = self._started()
        self._stopped = self._thread is None
        atexit.register(self._exit)

    def run(self, job: Job) -> bool:
        """Queue the job, waiting for a free place if need be. On the worker's own thread, run it at once.

        Returns:
            False if a fork came meanwhile: this is the child, and its own worker must run the job.
        """
        if threading.get_ident() == self._thread:
            job()
            return True
        self._places.get()
        if self._process is not forks.current:
            return False
        context, places = contextvars.copy_context(), self._places
        in_context = functools.partial(run_as_reporting, job) if is_reporting() else job

        def take_turn() -> None:
            places.put(None)
            context.run(in_context)

        self._put(take_turn)
        return True

    def close(self, timeout: float | None, reason: str = "close") -> None:
        """Wait up to `timeout` seconds for the queued jobs, report those not done to `dropped`, and end the thread."""
        if threading.get_ident() == self._thread:
            self._run_all()
        else:
            flushed = EmitHandle()
            self._put(flushed.finish)
            if not flushed.join(timeout) and self._process is forks.current:
                self._dropped(reason, self._jobs.qsize() - 1)  # the last job is `flushed.finish`
        self.stop()

    def stop(self) -> None:
        """End the thread after the queued jobs. Doesn't wait, so a garbage collection may call it."""
        atexit.unregister(self._exit)
        self._stopped = True
        self._jobs.put(None)

    def _started(self) -> int | None:
        """Start a thread and return its ident; None if no thread can be started: the interpreter exits."""
        try:
            # threading.Thread acquires a lock when it starts, and a garbage collection may emit while that is held.
            return _thread.start_new_thread(_begin, (self._jobs, self._process))
        except RuntimeError:
            return None

    def _put(self, job: Job) -> None:
        self._jobs.put(job)
        if self._stopped:  # the thread may have ended without seeing the job
            self._run_all()

    def _exit(self) -> None:
        if self._process is forks.this_process():
            self.close(EXIT_SECONDS, "exit")

    def _abandon(self) -> object:
        """Forget the parent's jobs in a forked child, and return them, to be freed."""
        jobs, places = self._jobs, self._places
        self._jobs, self._places = SimpleQueue(), SimpleQueue()
        places.put(None)  # the forking thread may be waiting for a place, if a signal handler forked
        atexit.unregister(self._exit)
        return jobs

    def _run_all(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    run_shown(job)
        if self._stopped:
            self._jobs.put(None)  # the loop has removed the item that ends the thread


def _begin(jobs: SimpleQueue[Job | None], process: forks.Process) -> None:  # pragma: no cover (starts coverage)
    """Install the hooks of debuggers and coverage, as threading.Thread does."""
    sys.setprofile(threading.getprofile())
    sys.settrace(threading.gettrace())
    _work(jobs, process)


def _work(jobs: SimpleQueue[Job | None], process: forks.Process) -> None:
    threading.current_thread().name = "encore-events"
    while (job := jobs.get()) is not None:
        run_shown(job)
        del job  # or the worker would keep it alive while waiting
        if process is not forks.current:
            return  # the job has forked, and this is the child: the queued jobs are the parent's
