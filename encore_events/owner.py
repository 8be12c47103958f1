"""The identity of a caller: its thread, and the asyncio task in it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any, NamedTuple

__all__ = ["current_owner", "here"]


class _Life:
    """An object that exists as long as the thread that made it."""


class Here(threading.local):
    """The identity of each thread. Unlike its ident, no later thread has it again.

    Attributes:
        token: the calling thread's own.
        is_alive: a weak reference that is dead once the thread has ended.
    """

    def __init__(self) -> None:
        """Make the token of the calling thread, when it first asks."""
        self.token = object()
        self._life = _Life()
        self.is_alive = weakref.ref(self._life)


here = Here()


class Owner(NamedTuple):
    """A thread, by its token, and the task that runs in it where an event loop does."""

    thread: object
    task: asyncio.Task[Any] | None


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in the calling thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def current_owner() -> Owner:
    """Return the caller's own thread and task."""
    loop = current_loop()
    return Owner(here.token, None if loop is None else asyncio.current_task(loop))
