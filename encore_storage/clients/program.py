"""The program that calls a library: the line that it is at, and the error that is leaving it."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any

_FOLDERS = {
    f"{folder}/"
    for folder in (
        *(Path(__file__).parents[2] / package for package in ("encore_events", "encore_storage")),
        *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(*site.getsitepackages(), site.getusersitepackages()),
    )
}
"""The folders of libraries, beside those named site-packages or dist-packages."""


def add_library(name: str) -> None:
    """Take a package for a library wherever it is, even beside the program."""
    _FOLDERS.update(f"{folder}/" for folder in sys.modules[name].__path__)
    _name_of.cache_clear()


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
        if _name_of(frame.f_code.co_filename) and (name := _name_in_program(frame)):
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
    while frame is not None and not _name_in_program(frame):
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


def _name_in_program(frame: FrameType) -> str:
    """Return the short name of the frame's file; '' if it is one of a library."""
    name = _name_of(frame.f_code.co_filename)
    is_generated = name.startswith("<") and frame.f_globals.get("__name__") != "__main__"  # else it is of a prompt
    return "" if is_generated else name


@functools.lru_cache(maxsize=4096)
def _name_of(filename: str) -> str:
    if filename.startswith(tuple(_FOLDERS)) or "/site-packages/" in filename or "/dist-packages/" in filename:
        return ""
    if filename.startswith("<"):
        return filename
    path = Path(filename)
    folders = [Path(entry or ".").absolute() for entry in sys.path]
    below = [path.relative_to(folder) for folder in folders if folder != Path("/") and path.is_relative_to(folder)]
    return min(map(str, below), key=len, default="/".join(path.parts[-2:]))
