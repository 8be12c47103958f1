"""Ctrl-C that is not lost.

Python can only ignore a KeyboardInterrupt that arrives while a finalizer runs, and there is one for each
stream. So the signal is remembered, and the next operation of a store raises it again.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from encore_events import FIRST, EventManager
from encore_storage.events import StoreProgressStartEvent


@contextlib.contextmanager
def remembered_interrupts(manager: EventManager) -> Iterator[None]:
    """A block in which Ctrl-C ends what the stores of `manager` do, whenever it comes.

    Where it means something else already, or is ignored, that stays.
    """
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = threading.Event()

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.set()
        signal.default_int_handler(number, frame)

    def raise_again(_event: StoreProgressStartEvent) -> None:
        if arrived.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        with manager.connect(StoreProgressStartEvent, raise_again, priority=FIRST, weak=False):
            yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
