"""A thread that cleans up exactly once: whether it ends, never begins, or is left behind by a fork."""

from __future__ import annotations

import threading
from collections.abc import Callable

from encore_events import forks
from encore_events.once import Once


class OwnedThread:
    """Runs `run` and then `at_end` in a daemon thread; a forked child leaves it to its parent.

    Args:
        run: the work; `at_end` is called even if it raises.
        at_end: called once: in the thread, or where that never began, by the caller of `start()` or `join()`.
        name: the name of the thread.
    """

    def __init__(self, run: Callable[[], object], at_end: Callable[[], object], *, name: str) -> None:
        """Make a thread that is not started."""
        self._work = run
        self._at_end = at_end
        self._begins = Once()
        self._over = threading.Event()
        self._process = forks.this_process()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def is_own(self) -> bool:
        """Whether the calling process made the thread, and not the parent that it was forked from."""
        return self._process is forks.this_process()

    def start(self) -> None:
        """Start the thread; if that fails (a RuntimeError), or is interrupted before it began, it never begins."""
        try:
            self._thread.start()
        except BaseException:  # an interrupt may have found the thread running: then the end is left to it
            self._end_unbegun()
            raise

    def join(self) -> bool:
        """Wait until the thread and `at_end` are done; return False in the thread itself and in a forked child."""
        if not self.is_own or self._thread is threading.current_thread():
            return False
        self._end_unbegun()
        self._over.wait()  # before join(): one that is interrupted takes a thread for ended
        if self._thread.ident is not None:
            self._thread.join()
        return True

    def _run(self) -> None:
        if not self._begins.take():
            return
        try:
            self._work()
        finally:
            if self.is_own:  # else `run` has forked, and this is the child
                self._end()

    def _end_unbegun(self) -> None:
        if self._begins.take():
            self._end()

    def _end(self) -> None:
        try:
            self._at_end()
        finally:
            self._over.set()
