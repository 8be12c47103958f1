"""The program that a process belongs to: processes of one program share a page."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from encore_events.loggers import get_logger

logger = get_logger("encore_storage")

VARIABLE = "ENCORE_GROUP"
"""The environment variable that passes the identity on to child processes. A program may set it to any name."""

LONGEST = 100  # characters of a name


def _current_directory() -> str:
    with contextlib.suppress(OSError):  # it may have been removed
        return os.getcwd()  # noqa: PTH109 (a string is hashed)
    return ""


_start_directory = _current_directory()  # at the import, since the program may change it before it calls `monitor()`


def program_identity() -> str:
    """Return the identity of the program: `ENCORE_GROUP`, or its name and a hash of its path and start directory.

    The first call exports the identity to child processes, whose own arguments may be different. It replaces an
    unusable one, which is logged.
    """
    given = os.environ.get(VARIABLE, "")
    if is_name(given):
        return given
    name = os.environ[VARIABLE] = _computed()
    if given:
        shown = repr(given if len(given) <= LONGEST else f"{given[:LONGEST]}...")
        logger.warning("%s is %s: set a name of 1 to %d printable characters (now %r)", VARIABLE, shown, LONGEST, name)
    return name


def is_name(name: object) -> bool:
    """Return whether `name` can name a group: 1 to 100 printable characters."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST and name.isprintable()


def key_of(*parts: object) -> str:
    """Return a short hash, usable as a file name."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()[:16]


def program_name() -> str:
    """Return the name of the program for people: its module after `python -m`, or that of its script, or 'python'."""
    script = sys.argv[0] if sys.argv else ""
    return _module() or (Path(script).name if script not in {"-c", "-m"} else "") or "python"


def _computed() -> str:
    script = os.path.join(_start_directory, sys.argv[0] if sys.argv else "")  # noqa: PTH118 (a string is hashed)
    shown = "".join(character for character in program_name() if character.isprintable())[:60]
    return f"{shown or 'python'}-{key_of(_module() or script, _start_directory)[:8]}"


def _module() -> str | None:
    """Return the main module if the program was started with `python -m`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name == "__main__":  # a script, or a directory with one
        return None
    return str(spec.name).removesuffix(".__main__")
