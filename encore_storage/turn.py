"""Whose turn it is to write to a store: one thread, and in it one asyncio task, at a time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from encore_events.owner import Owner, current_owner
from encore_storage.errors import TransactionTimeoutError


class Turn:
    """A lock that its owner may enter again, where the owner is a thread and the asyncio task in it.

    Another thread waits. Another task of the same thread is refused at once, since its waiting would block
    the loop that the owner needs.

    Args:
        store: the name of the store, for errors.
        timeout: how many seconds a thread waits; None for as long as it takes.
    """

    def __init__(self, store: str, timeout: float | None) -> None:
        """Make a turn that is nobody's."""
        self.timeout = timeout
        self._store = store
        self._lock = threading.Lock()
        self._owner: Owner | None = None
        self._depth = 0

    @property
    def is_mine(self) -> bool:
        """Whether it is the calling thread's and task's turn."""
        return self._owner is not None and self._owner == current_owner()

    def enter(self) -> None:
        """Take the turn, or go deeper into one's own.

        Raises:
            TransactionTimeoutError: it did not become free in time.
        """
        me = current_owner()
        owner = self._owner
        if owner == me:
            self._depth += 1
            return
        if owner is not None and owner.thread == me.thread:
            reason = "another task of this thread is in it, and waiting would block the event loop"
            raise TransactionTimeoutError(self._store, reason)
        if not self._lock.acquire(timeout=-1 if self.timeout is None else self.timeout):
            raise TransactionTimeoutError(self._store, f"its end was awaited for {self.timeout} s")
        self._owner = me
        self._depth = 1

    def leave(self) -> None:
        """Come out by one level; out of the first, the turn is free."""
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> Self:
        """Enter."""
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave."""
        self.leave()
