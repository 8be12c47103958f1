"""Signal handlers of the command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from encore_events import FIRST, EventManager
from encore_storage.cli.status import INTERRUPTED
from encore_storage.events import StoreProgressStartEvent

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def handled(number: signal.Signals, handler: Handler) -> Iterator[None]:
    """Handle a signal for the length of a block, unless the program already does, or this is not the main thread."""
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) is not default:
        yield
        return
    signal.signal(number, handler)
    try:
        yield
    finally:
        if signal.getsignal(number) is handler:
            signal.signal(number, default)


@contextlib.contextmanager
def remembered_interrupts(manager: EventManager) -> Iterator[None]:
    """Ensure that Ctrl-C ends the block, even if it arrives while a finalizer runs.

    Python ignores a KeyboardInterrupt raised in a finalizer, and each stream has one. So the signal is remembered, and
    the next operation of a store raises it again.
    """
    arrived = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.set()
        signal.default_int_handler(number, frame)

    def raise_again(_event: StoreProgressStartEvent) -> None:
        if arrived.is_set():
            raise KeyboardInterrupt

    with (
        handled(signal.SIGINT, remember),
        manager.connect(StoreProgressStartEvent, raise_again, priority=FIRST, weak=False),
    ):
        yield


def end_process(_number: int, _frame: FrameType | None) -> NoReturn:
    """Handle Ctrl-C: end the process at once, with the usual message and status.

    A KeyboardInterrupt is lost in a finalizer, and a write blocked on a full pipe would block again when the
    interpreter flushes. Only for code that has nothing to undo.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):  # closed, or nobody reads it
        os.write(sys.stderr.fileno(), b"encore: interrupted\n")
    os._exit(INTERRUPTED)
