"""The file in the directory of a group with the process that serves, and those that did before."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import NamedTuple, Self

from encore_storage.processes.info import ProcessInfo

SERVING = "serving"
"""The name of the file."""

_KEPT = 100  # runs


class Serving(NamedTuple):
    """The process that serves a group.

    Attributes:
        process: the process, or None once it has ended its work; one that was killed has not.
        runs: the run of its feed, after those of the processes that served before.
    """

    process: ProcessInfo | None
    runs: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what is in the file; nobody if it cannot be read."""
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            process, runs = json.loads(path.read_text(encoding="ascii"))
            found = None
            if process is not None:
                pid, name, started = process
                found = ProcessInfo(int(pid), str(name), float(started))
            return cls(found, tuple(map(str, runs)))
        return cls(None, ())

    def write(self, path: Path) -> None:
        """Replace the file as one change, if that is possible."""
        with contextlib.suppress(OSError):
            made = path.with_suffix(".new")
            made.write_text(json.dumps([self.process, self.runs[-_KEPT:]]), encoding="ascii")
            made.replace(path)
