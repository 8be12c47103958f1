"""Where the command writes: standard output and standard error, which may be closed, full, or read by nobody."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO


def complain(sentence: str) -> None:
    """Write a line about trouble to standard error, if anybody reads it."""
    stream = sys.stderr
    try:
        stream.write(f"encore: {sentence}\n")
        stream.flush()
    except (OSError, AttributeError, ValueError):  # there is none, or nobody reads it
        let_go(stream)


def finish() -> None:
    """Have what is still to be written not fail at the end of the process, where it would change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError, ValueError):
            let_go(stream)


def let_go(stream: IO[str] | None) -> None:
    """Keep what could not be written from being written again."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())  # type: ignore[union-attr]  # None where it was closed from the start
        os.close(null)
