"""The identity of the caller: its thread and its asyncio task."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any, NamedTuple

__all__ = ["current_owner", "here"]


class Owner(NamedTuple):
    """A thread's token, and its running task if it runs an event loop."""

    thread: object
    task: asyncio.Task[Any] | None


class Here(threading.local):
    """The calling thread's identity. No later thread gets the same one, as with idents.

    Attributes:
        token: an object that is the calling thread's own.
        without_task: the owner that the thread is while it runs no task.
        is_alive: a weak reference that dies with the thread.
    """

    def __init__(self) -> None:
        self.token = object()
        self.without_task = Owner(self.token, None)
        self._life = set[None]()  # lives as long as the thread; any class that supports weak references would do
        self.is_alive = weakref.ref(self._life)


here = Here()


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in the calling thread, if any."""
    return asyncio._get_running_loop()  # noqa: SLF001 (without one, get_running_loop() raises, which takes five times as long)


def current_owner() -> Owner:
    """Return the calling thread and task."""
    loop = current_loop()
    task = None if loop is None else asyncio.current_task(loop)
    return here.without_task if task is None else Owner(here.token, task)
