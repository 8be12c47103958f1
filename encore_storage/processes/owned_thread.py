"""A thread that survives a failed round, and cleans up exactly once: not in a forked child, even if it never began."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from encore_events import forks
from encore_events.loggers import get_logger
from encore_events.once import Once

FAILED_SECONDS = 1.0  # from a failed round to the next: what fails again must not keep a processor busy

logger = get_logger("encore_events")


class OwnedThread:
    """A daemon thread of the process that made it.

    Args:
        run: the work.
        at_end: called once, even if `run` raises: in the thread, or by `start()` or `join()` if that never began.
        name: the name of the thread.
    """

    def __init__(self, run: Callable[[], object], at_end: Callable[[], object], *, name: str) -> None:
        self._work = run
        self._at_end = at_end
        self._begins = Once()
        self._over = threading.Event()
        self._process = forks.this_process()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """True if the thread is running."""
        return self._thread.is_alive()

    @property
    def is_own(self) -> bool:
        """True if the calling process made the thread. False in a forked child."""
        return self._process is forks.this_process()

    def start(self) -> None:
        """Start the thread. If that fails (a RuntimeError) or is interrupted, `run` may never be called."""
        try:
            self._thread.start()
        except BaseException:  # after an interrupt the thread may be running: then it calls `at_end` itself
            self._end_unbegun()
            raise

    def repeat(self, one_round: Callable[[], bool], stopping: threading.Event) -> None:
        """Call `one_round` until it returns False, or this is a forked child. For the work of the thread.

        An exception is logged, and the next round begins a second later, or at once if `stopping` is set. Of failures
        in a row, only the first is logged.
        """
        has_failed = False
        while self.is_own:
            try:
                if not one_round():
                    return
                has_failed = False
            except Exception:
                if not has_failed:
                    has_failed = True
                    with contextlib.suppress(RecursionError):  # of a logging handler
                        logger.exception("a round of the thread %r failed; it goes on", self._thread.name)
                stopping.wait(FAILED_SECONDS)

    def join(self) -> bool:
        """Wait until the thread and `at_end` are done. Return False in the thread itself and in a forked child."""
        if not self.is_own or self._thread is threading.current_thread():
            return False
        self._end_unbegun()
        self._over.wait()  # before Thread.join(), which takes a thread for ended once it was interrupted
        if self._thread.ident is not None:
            self._thread.join()
        return True

    def _run(self) -> None:
        if not self._begins.take():
            return
        try:
            self._work()
        finally:
            if self.is_own:  # `run` may have forked, and this may be the child
                self._end()

    def _end_unbegun(self) -> None:
        if self._begins.take():
            self._end()

    def _end(self) -> None:
        try:
            self._at_end()
        finally:
            self._over.set()
