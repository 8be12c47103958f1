"""A background thread for work that a finalizer must not do itself.

The garbage collector may run a finalizer in a thread that holds any lock, a listener's included. So events that a
finalizer has to emit are emitted from another thread.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from queue import Empty, SimpleQueue

from encore_events.forks import renew_in_child, this_process
from encore_events.loggers import show_uncaught

__all__ = ["is_in_background", "run_in_background"]

Work = Callable[[], object]


class _Queue:
    """The waiting work. `is_running` is whether a thread is doing it."""

    def __init__(self) -> None:
        self.waiting: SimpleQueue[Work] = SimpleQueue()
        self.is_running = False
        renew_in_child(self, _Queue.renew)

    def renew(self) -> object:
        """Start empty in a forked child, which has no such thread; return the parent's work, to be freed."""
        inherited, self.waiting, self.is_running = self.waiting, SimpleQueue(), False
        return inherited


_queue = _Queue()
_idents: list[int] = []  # the ident of the background thread


def is_in_background() -> bool:
    """Return whether the caller runs in the background thread."""
    return _idents == [_thread.get_ident()]


def run_in_background(work: Work) -> None:
    """Call `work` soon, in the background thread, which is started if need be. A finalizer may call this."""
    this_process()
    _queue.waiting.put(work)
    if _queue.is_running:
        return
    _queue.is_running = True
    try:
        # threading.Thread acquires a lock when it starts, and the garbage collector may run while that is held.
        _thread.start_new_thread(_run_queue, ())
    except RuntimeError:  # no more threads can be started: for now, or because the interpreter exits
        _queue.is_running = False


def _run_queue() -> None:
    _idents[:] = [_thread.get_ident()]
    while True:
        waiting = _queue.waiting  # read anew: the last work may have forked, and this may be the child
        try:
            work = waiting.get_nowait()
        except Empty:
            _queue.is_running = False
            if waiting.empty():
                return
            continue
        run_shown(work)


def run_shown(work: Work) -> None:
    """Call `work`, and show its exceptions, since they must not end the thread."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 (shown by the hook)
        show_uncaught(error)
