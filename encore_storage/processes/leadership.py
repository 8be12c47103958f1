"""The choice of the process that serves a group."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import Protocol

from encore_storage.processes.descriptors import OwnDescriptor
from encore_storage.processes.owned_thread import OwnedThread

LEADER = "leader"
"""The file that the leader holds an exclusive lock on. The kernel drops it with its holder."""

_TICK = 1.0  # seconds between two calls of `tick`, and between two attempts of a follower to lead
_RETRY = 0.02  # seconds until a member tries again to lead or to follow


class Duties(Protocol):
    """The work of the members of a group, in the thread of the leadership."""

    def lead(self) -> None:
        """Begin to serve the group."""

    def tick(self) -> None:
        """Do the regular work of the leader."""

    def resign(self) -> None:
        """Stop to serve; called before the lock is released."""

    def follow(self, seconds: float) -> None:
        """Work for the leader, at most for `seconds`. Return at once when it is gone, or after `stop_following`."""

    def stop_following(self) -> None:
        """Let `follow` return. Thread-safe."""


class Leadership:
    """Makes one process of a group its leader, and another one when it ends.

    Args:
        directory: the directory of the group; None for a process alone, which always leads.
        duties: the work of leaders and followers.
    """

    def __init__(self, directory: Path | None, duties: Duties) -> None:
        self._path = None if directory is None else directory / LEADER
        self._duties = duties
        self._closing = threading.Event()
        self._lock: OwnDescriptor | None = None
        self._leads = False
        self._thread = OwnedThread(self._run, self._end, name="encore-group")

    def __repr__(self) -> str:
        return f"<Leadership: {'leads' if self._leads else 'follows'}>"

    @property
    def leads(self) -> bool:
        """True if this process is the leader."""
        return self._leads

    def start(self) -> None:
        """Lead at once if there is no leader, in the calling thread; then go on in a thread.

        Raises:
            OSError: the leader cannot serve.
        """
        try:
            if self._acquire():
                self._duties.lead()
                self._leads = True
            self._thread.start()
        except BaseException:
            self._closing.set()
            self._end()
            raise

    def start_in_background(self) -> None:
        """Lead or follow in a thread, without waiting for anything."""
        self._thread.start()

    def close(self) -> None:
        """Resign or stop following, and end the thread. Does nothing in a forked child or the second time."""
        if self._thread.is_own:
            self._closing.set()
            self._duties.stop_following()
            self._thread.join()

    def _run(self) -> None:
        self._thread.repeat(self._work, self._closing)

    def _work(self) -> bool:
        """Lead or follow for a while, and return whether to go on."""
        if self._closing.is_set():
            return False
        if self._leads:
            if not self._closing.wait(_TICK):
                self._duties.tick()
        elif self._acquire():
            self._duties.lead()
            self._leads = True
        else:
            self._duties.follow(_TICK)
            if self._thread.is_own:  # else forked in between
                self._closing.wait(_RETRY)  # or a leader that cannot be reached would be asked all the time
        return True

    def _acquire(self) -> bool:
        """Return whether this process is the leader now."""
        if self._path is None:
            return True
        if self._lock is None or not self._lock.is_at(self._path):
            self._release()
            with contextlib.suppress(OSError):
                self._lock = OwnDescriptor.open(self._path, os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(OSError):
            if self._lock is not None:
                fcntl.flock(self._lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False

    def _end(self) -> None:
        try:
            if self._leads:
                self._duties.resign()
        finally:
            self._leads = False
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()
