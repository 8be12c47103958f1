"""The environments of the program and of the report."""

from __future__ import annotations

import contextlib
import os

from encore_run.options import OPTIONS
from encore_run.program import other_paths


def inherited() -> dict[str, str]:
    """Return the environment of this command: without options, and without what Python added at its start."""
    options = {option.variable for option in OPTIONS}
    environment = {name: text for name, text in os.environ.items() if name not in options}
    with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as file:
        if not any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0")):
            environment.pop("LC_CTYPE", None)
    return environment


def of_the_report() -> dict[str, str]:
    """Return the environment of the report, in which nothing is observed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("ENCORE_")}
    return environment | {"PYTHONPATH": os.pathsep.join(other_paths(environment))}
