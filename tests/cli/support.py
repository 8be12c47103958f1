"""What the tests of the command share: the real command, and a log that it can't run ahead of."""

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
LONG = 60.0
"""Seconds that a test waits for another process: never spent, unless it fails."""

Files = Mapping[str, bytes]


class Done(NamedTuple):
    """What a command that is over has said."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


def start(
    *arguments: object, launcher: tuple[str, ...] = (), interrupted: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """The real command, under way in a process and a process group of its own, where warnings are errors.

    One that is to be interrupted hears Ctrl-C whoever runs the tests, and is not traced: an interrupt inside of
    coverage's own lock would stop it for good.
    """
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True, **options}
    inherited = {name: value for name, value in os.environ.items() if not (interrupted and name.startswith("COV"))}
    environment = {**inherited, **given.pop("env", {}), "PYTHONWARNINGS": "error"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here would be ignored there
    try:
        return subprocess.Popen([*launcher, COMMAND, *map(str, arguments)], env=environment, **given)
    finally:
        signal.signal(signal.SIGINT, before)


def done(process: subprocess.Popen[str]) -> Done:
    """What a command under way has said once it is over."""
    with process:
        out, err = process.communicate(timeout=LONG)
    return Done(process.returncode, out, err)


def command(*arguments: object, **options: Any) -> Done:
    """What the real command does in a process of its own."""
    return done(start(*arguments, **options))


def write(folder: Path, files: Files) -> Path:
    """Make the directory, with the files in it; gives it."""
    for key, data in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    """All files of the directory but those that a store keeps for itself."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".encore" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def log_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class SlowLog:
    """A log file that is a pipe: who writes it gets only some 64 KiB further than the test has read."""

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
        readable, _, _ = select.select([self._fd], [], [], LONG)
        assert readable, "nothing more was logged"
        return os.read(self._fd, 1024)

    def wait_for(self, event: str, **fields: Any) -> None:
        """Read until a line says so."""
        wanted = {"event": event, **fields}.items()
        assert any(wanted <= line.items() for line in self._lines), f"{event} was never logged"

    def drain(self) -> None:
        """Read until the command closes it."""
        for _ in self._lines:
            pass

    def close(self) -> None:
        os.close(self._fd)
