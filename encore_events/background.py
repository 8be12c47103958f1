"""Work that a garbage collection finds but must not do itself.

A finalizer may run between any two steps of a thread that holds a lock, a listener's lock too. So what a
finalizer has to tell is told from another thread.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from encore_events.forks import renew_in_child, this_process

__all__ = ["is_in_background", "run_in_background"]

Work = Callable[[], object]


class _Queue:
    """The work that waits, and whether a thread is doing it."""

    def __init__(self) -> None:
        self.waiting: SimpleQueue[Work] = SimpleQueue()
        self.is_running = False
        renew_in_child(self, _Queue.renew)

    def renew(self) -> object:
        """Begin with nothing in a forked child, where no thread is; return what is the parent's to do, to be freed."""
        left, self.waiting, self.is_running = self.waiting, SimpleQueue(), False
        return left


_queue = _Queue()


_idents: list[int] = []
"""The ident of the thread that is doing what waits."""


def is_in_background() -> bool:
    """Return whether the caller is the thread that does what waits."""
    return _idents == [_thread.get_ident()]


def run_in_background(work: Work) -> None:
    """Have `work` done soon, by a thread that is started for it. May be called by a finalizer."""
    this_process()
    _queue.waiting.put(work)
    if _queue.is_running:
        return
    _queue.is_running = True
    try:
        # threading.Thread takes a lock when it starts, and the collection may have come while that was held.
        _thread.start_new_thread(_run_queue, ())
    except RuntimeError:  # there can be no more threads: for now, or at the exit of the interpreter
        _queue.is_running = False


def _run_queue() -> None:
    _idents[:] = [_thread.get_ident()]
    while True:
        waiting = _queue.waiting  # another one, if the work before has forked and this is the child
        try:
            work = waiting.get_nowait()
        except Empty:
            _queue.is_running = False
            if waiting.empty():
                return
            continue
        try:
            work()
        except BaseException:  # noqa: BLE001 (as a thread's own: shown by the hook, and what waits is done)
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
