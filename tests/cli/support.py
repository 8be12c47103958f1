"""Helpers for tests of the command."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = str(Path(sys.executable).with_name("encore"))
TIMEOUT = 60.0
"""Seconds that a test waits for another process before it fails."""

Files = Mapping[str, bytes]


class Result(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


def start(
    *arguments: object, launcher: tuple[str, ...] = (), interrupted: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """Start the real command in a process group of its own, with warnings as errors.

    With `interrupted`, coverage is off: an interrupt while coverage holds its lock would block the process forever.
    """
    keywords = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
        **options,
    }
    inherited = {name: value for name, value in os.environ.items() if not (interrupted and name.startswith("COV"))}
    environment = {**inherited, **keywords.pop("env", {}), "PYTHONWARNINGS": "error"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits an ignored signal
    try:
        return subprocess.Popen([*launcher, COMMAND, *map(str, arguments)], env=environment, **keywords)
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[str]) -> Result:
    """Wait for the command and return its result."""
    with process:
        out, err = process.communicate(timeout=TIMEOUT)
    return Result(process.returncode, out, err)


def command(*arguments: object, **options: Any) -> Result:
    """Run the real command and return its result."""
    return finish(start(*arguments, **options))


def write(folder: Path, files: Files) -> Path:
    """Create the directory with the files, and return it."""
    for key, data in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    """Return all files of the directory except a store's own."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".encore" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def log_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSON log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class SlowLog:
    """A log file that is a pipe, so that its writer blocks until the test reads it (after some 64 KiB)."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._lines = self._read()

    def _read(self) -> Iterator[dict[str, Any]]:
        rest = b""
        while chunk := self._chunk():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, lines)

    def _chunk(self) -> bytes:
        readable, _, _ = select.select([self._fd], [], [], TIMEOUT)
        assert readable, "nothing more was logged"
        return os.read(self._fd, 1024)

    def wait_for(self, event: str, **fields: Any) -> None:
        """Read until a line has this event and these fields."""
        wanted = {"event": event, **fields}.items()
        assert any(wanted <= line.items() for line in self._lines), f"{event} was never logged"

    def drain(self) -> None:
        """Read until the command closes the pipe."""
        for _ in self._lines:
            pass

    def close(self) -> None:
        os.close(self._fd)
