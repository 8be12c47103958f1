"""The program that calls a library: the line that it is at, and the error that is leaving it."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any

_PACKAGES = Path(__file__).parents[2]
_OWN = (f"{_PACKAGES / 'encore_events'}/", f"{_PACKAGES / 'encore_storage'}/")
_UNNAMED = ("<stdin>", "<string>", "<ipython")
"""The beginnings of the names of code without a file that a person wrote; other names are of generated code."""


def place(skip: int = 1) -> str | None:
    """Return the innermost line of the program, outside of libraries, as 'folder/file.py:12'; None if there is none.

    The names of folders are those below an entry of `sys.path`, or the last one.

    Args:
        skip: the number of inner frames that are known to be of libraries; the fewer are looked at, the faster it is.
    """
    try:
        frame: FrameType | None = sys._getframe(skip)  # noqa: SLF001 (there is no other function for it)
    except ValueError:  # the stack is not as deep
        frame = sys._getframe(0)  # noqa: SLF001
    while frame is not None:
        name = _name_in_program(frame.f_code.co_filename)
        if name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back or _frame_of_parent(frame)
    return None


def error_in_flight() -> BaseException | None:
    """Return the exception that the caller handles, or that the `__exit__` that it is in was called with.

    A greenlet does not see the exception that its parent handles, so that of an `__exit__` is all that is known.
    """
    error = sys.exception()
    if error is not None or _parent() is None:
        return error
    frame: FrameType | None = sys._getframe(0)  # noqa: SLF001
    while frame is not None and not _name_in_program(frame.f_code.co_filename):
        code = frame.f_code
        if code.co_name in ("__exit__", "__aexit__") and code.co_argcount > 2:  # noqa: PLR2004 (self, type, value)
            value = frame.f_locals[code.co_varnames[2]]
            return value if isinstance(value, BaseException) else None
        frame = frame.f_back or _frame_of_parent(frame)
    return None


def _parent() -> Any:
    """Return the greenlet that waits for the present one, or None."""
    greenlets = sys.modules.get("greenlet")
    return None if greenlets is None else greenlets.getcurrent().parent


def _frame_of_parent(outermost: FrameType) -> FrameType | None:
    """Return the innermost frame of the greenlet that waits for the present one, unless it is among its frames."""
    parent = _parent()
    frame: FrameType | None = None if parent is None else parent.gr_frame
    return None if frame is None or _outermost(frame) is outermost else frame


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


@functools.lru_cache(maxsize=4096)
def _name_in_program(filename: str) -> str:
    """Return the short name of a file of the program; '' for one of a library."""
    if filename.startswith("<"):
        return filename if filename.startswith(_UNNAMED) else ""
    if filename.startswith(_libraries()) or "/site-packages/" in filename or "/dist-packages/" in filename:
        return ""
    path = Path(filename)
    folders = [Path(entry or ".").absolute() for entry in sys.path]
    below = [path.relative_to(folder) for folder in folders if folder != Path("/") and path.is_relative_to(folder)]
    return min(map(str, below), key=len, default="/".join(path.parts[-2:]))


@functools.cache
def _libraries() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {*(sysconfig.get_path(kind) for kind in kinds), *site.getsitepackages(), site.getusersitepackages()}
    return (*_OWN, *(f"{folder}/" for folder in folders))
