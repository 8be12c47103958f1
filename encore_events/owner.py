"""Who is calling: the thread, and the asyncio task in it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NamedTuple


class Here(threading.local):
    """Has a token for each thread, which no later thread has, as it may have the ident.

    Attributes:
        token: the calling thread's own.
    """

    def __init__(self) -> None:
        """Make the token of the calling thread, when it first asks."""
        self.token = object()


here = Here()


class Owner(NamedTuple):
    """A thread and, where an event loop runs, the task that is running in it."""

    thread: int
    task: asyncio.Task[Any] | None


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in the calling thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def current_owner() -> Owner:
    """The caller's own thread and task."""
    loop = current_loop()
    return Owner(threading.get_ident(), None if loop is None else asyncio.current_task(loop))
