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
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from encore_events import forks
from encore_events.reporting import is_reporting, run_as_reporting

__all__ = ["EmitHandle"]

CAPACITY = 10_000
"""How many events may wait; the next emitter waits for a place."""

EXIT_SECONDS = 5.0
"""How long the exit of the interpreter waits for what is queued."""

Job = Callable[[], object]


class EmitHandle:
    """What `emit(block=False)` gives: whether the event has been dispatched.

    What was not done at a fork is done by the parent; a forked child is told that it isn't, at once.
    """

    __slots__ = ("_finished", "_process", "_waiting")

    def __init__(self) -> None:
        """Make a handle of an event that waits."""
        self._finished = False
        self._process = forks.current
        # Not a threading.Event: its own lock may be held when a garbage collection emits, and waits for the worker.
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every listener has run, or for `timeout` seconds; whether they have."""
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
        """Whether every listener has run."""
        return self._finished

    def finish(self) -> None:
        """Say that there is nothing more to wait for. For the bus."""
        self._finished = True
        self.release_waiters()

    def adopt(self) -> forks.Process:
        """Have the event be one of the calling process, and return that. For the bus."""
        self._process = forks.this_process()
        return self._process

    def release_waiters(self) -> None:
        """Let everyone go who waits. For the bus."""
        try:  # noqa: SIM105 (a third of the time)
            self._waiting.release()
        except RuntimeError:  # that was done before, in a forked child
            pass

    def __repr__(self) -> str:
        """Whether it is done."""
        return f"<EmitHandle: {'done' if self.done() else 'waiting'}>"


class _Joins:
    """Those that are being joined: a thread that forks meanwhile, in a signal handler, waits for no parent's worker."""

    def __init__(self) -> None:
        self.handles: dict[object, EmitHandle] = {}
        forks.renew_in_child(self, _Joins.leave)

    def leave(self) -> None:
        for handle in list(self.handles.values()):
            handle.release_waiters()


_joins = _Joins()


class Worker:
    """Runs jobs one after the other in a thread of its own, each in the context it was given in.

    It is left behind by a fork, with all that it has to do: a forked child makes another one.
    """

    def __init__(self, dropped: Callable[[str, int], None], *, capacity: int = CAPACITY) -> None:
        """Start the thread. `dropped` hears, at its end, why and how many jobs were not done in time."""
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
        """Queue the job, waiting for a place if need be; on the worker's own thread, run it at once.

        Returns:
            False if a fork has left the worker behind meanwhile, and the job is another's to do.
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
        if not self.flush(timeout) and self._process is forks.current:
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
        """Leave the thread and its jobs to the parent, in a forked child; return those, to be freed."""
        jobs, places = self._jobs, self._places
        self._jobs, self._places = SimpleQueue(), SimpleQueue()
        places.put(None)  # the thread that has forked, in a signal handler, may be waiting for one
        atexit.unregister(self._exit)
        return jobs

    def _run_all(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    _run(job)
        if self._stopped:
            self._jobs.put(None)  # what ends the thread was taken out with the rest


def _begin(
    jobs: SimpleQueue[Job | None], process: forks.Process
) -> None:  # pragma: no cover (seen only from its end on)
    """Let debuggers and coverage see what runs here, as in any threading.Thread."""
    sys.setprofile(threading.getprofile())
    sys.settrace(threading.gettrace())
    _work(jobs, process)


def _work(jobs: SimpleQueue[Job | None], process: forks.Process) -> None:
    threading.current_thread().name = "encore-events"
    while (job := jobs.get()) is not None:
        _run(job)
        del job  # while it waits, the worker keeps nothing alive
        if process is not forks.current:
            return  # the job has forked, and this is the child: what is queued is the parent's


def _run(job: Job) -> None:
    try:
        job()
    except BaseException:  # noqa: BLE001 (as a thread's own: shown by the hook, and the next job runs)
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
