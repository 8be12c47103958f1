"""The program to run: its arguments and its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")
"""The directory whose `sitecustomize` starts Encore. It is the first on PYTHONPATH."""

DIRECTORY = "ENCORE_RUN_DIRECTORY"
"""The variable with the directory of the run."""

PROCESS = "ENCORE_RUN_PROCESS"
"""The variable with the process id of the program itself."""

_OWN = ("-m", "-c")


def command_of(program: Sequence[str]) -> list[str]:
    """Return the command that runs `program`: a file of Python, `-m` or `-c` with this interpreter, else as it is."""
    first = program[0]
    if first in _OWN or first.endswith(".py"):
        return [sys.executable, *program]
    return list(program)


def name_of(program: Sequence[str]) -> str:
    """Return a short name for a program.

    >>> name_of(["/usr/bin/gunicorn", "app:app"]), name_of(["-m", "http.server"]), name_of(["etl.py", "x"])
    ('gunicorn', 'http.server', 'etl.py')
    """
    name = program[1] if program[0] == "-m" else "python" if program[0] == "-c" else os.path.basename(program[0])
    return (
        "".join(character if character.isalnum() or character in "._-" else "_" for character in name)[:40] or "python"
    )


def variables_of(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a program needs in its environment so that Encore observes it, beside the options."""
    return {**options, "PYTHONPATH": os.pathsep.join([SITE, *other_paths(environment)])}


def other_paths(environment: Mapping[str, str]) -> list[str]:
    """Return the entries of PYTHONPATH beside that of Encore. An empty one is none."""
    path = environment.get("PYTHONPATH", "")
    return [entry for entry in path.split(os.pathsep) if entry != SITE] if path else []
