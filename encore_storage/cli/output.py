"""Writing to standard output and standard error, which may be closed, full or unread."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO

from encore_events.printing import printable


def print_error(sentence: str) -> None:
    """Write a line to standard error if possible."""
    stream = sys.stderr
    try:
        stream.write(f"encore: {printable(sentence)}\n")
        stream.flush()
    except (OSError, AttributeError, ValueError):  # closed, or nobody reads it
        discard_output(stream)


def flush_output() -> None:
    """Flush both streams now: a failure at interpreter exit would change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError, ValueError):
            discard_output(stream)


def discard_output(stream: IO[str] | None) -> None:
    """Redirect a broken stream to the null device, so that its buffer is not written again."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())  # type: ignore[union-attr]  # None if the process started with it closed
        os.close(null)
