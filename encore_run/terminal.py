"""The controlling terminal, whose foreground process group gets the signals of its keys."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Self


class Terminal:
    """The controlling terminal of this process. The caller blocks SIGTTOU."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls) -> Self | None:
        """Open the terminal, or return None if there is none."""
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
        except OSError:
            return None

    def is_given_to(self, group: int) -> bool:
        """Return whether a process group is in the foreground."""
        try:
            return os.tcgetpgrp(self._descriptor) == group
        except OSError:  # the terminal was closed
            return False

    def give_to(self, group: int) -> None:
        """Put a process group into the foreground."""
        with contextlib.suppress(OSError):
            os.tcsetpgrp(self._descriptor, group)


def is_piped() -> bool:
    """Return whether a standard stream is a pipe, so that other processes of a pipeline may share the foreground."""
    return any(map(_is_pipe, (0, 1, 2)))


def _is_pipe(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # it is closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
