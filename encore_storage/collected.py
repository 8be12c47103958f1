"""Work that a garbage collection finds but must not do itself.

A finalizer may run between any two steps of a thread that holds a lock, a listener's lock too. So what a
finalizer has to tell is told from another thread.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Work = Callable[[], object]

_waiting: SimpleQueue[Work] = SimpleQueue()
_working_in: list[int] = []
"""The process whose thread is doing what waits, or nothing."""


_idents: list[int] = []
"""The ident of the thread that is doing what waits."""


def is_elsewhere() -> bool:
    """Return whether the caller is the thread that does what waits."""
    return _idents == [_thread.get_ident()]


def do_elsewhere(work: Work) -> None:
    """Have `work` done soon, by a thread that is started for it. May be called by a finalizer."""
    _waiting.put(work)
    if _working_in[-1:] == [os.getpid()]:
        return
    _working_in[:] = [os.getpid()]
    try:
        # threading.Thread takes a lock when it starts, and the collection may have come while that was held.
        _thread.start_new_thread(_do_what_waits, ())
    except RuntimeError:  # there can be no more threads: for now, or at the exit of the interpreter
        _working_in.clear()


def _do_what_waits() -> None:
    _idents[:] = [_thread.get_ident()]
    while True:
        try:
            work = _waiting.get_nowait()
        except Empty:
            _working_in.clear()
            if _waiting.empty():
                return
            continue
        try:
            work()
        except BaseException:  # noqa: BLE001 (as a thread's own: shown by the hook, and what waits is done)
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
