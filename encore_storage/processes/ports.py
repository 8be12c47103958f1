"""The process that holds a port, for messages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp


def holder_of(port: int) -> str | None:
    """Return the program and the process id that listen on a TCP port of this machine, such as 'nginx, process 42'.

    None if that cannot be found out: on other systems than Linux, or if the process is another user's.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return None
    for process in _PROC.iterdir():
        if process.name.isdecimal() and not sockets.isdisjoint(_open_files(process)):
            with contextlib.suppress(OSError):
                return f"{_program(process)!r}, process {process.name}"
    return None


def _program(process: Path) -> str:
    """Return the name of the program, without its options, which may hold secrets."""
    arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    name = Path(arguments[0]).name
    if name.startswith("python") and "-c" not in arguments:
        script = next((each for each in arguments[1:] if each and not each.startswith("-")), "")
        return Path(script).name or name
    return name


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, IndexError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and columns[1].endswith(f":{port:04X}"):
                    yield columns[9]


def _open_files(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for each in list((process / "fd").iterdir()):
            with contextlib.suppress(OSError):  # closed meanwhile
                yield os.readlink(each)  # noqa: PTH115 (no path)
