"""A pool of threads that a broken store cannot keep from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonPool(Executor):
    """A pool with a daemon thread for each job, so that a job that never ends keeps nothing else from ending."""

    def __init__(self) -> None:
        """Make a pool without threads."""
        self._threads: list[threading.Thread] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the job in a new thread."""
        future = Future[T]()
        thread = threading.Thread(target=_run, args=(future, lambda: fn(*args, **kwargs)), daemon=True)
        self._threads.append(thread)
        thread.start()
        return future

    def join(self, patience: float) -> None:
        """Wait for all jobs, at most `patience` seconds."""
        end = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))


def _run(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 (`result` raises it)
        future.set_exception(error)
        del future  # the traceback of the error has this frame
