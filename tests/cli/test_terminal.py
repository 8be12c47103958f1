"""Output on a terminal."""

from __future__ import annotations

import fcntl
import functools
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from encore_storage.cli import session
from encore_storage.cli.report import PlainProgress
from tests.cli.conftest import Encore
from tests.cli.support import TIMEOUT, SlowLog, start, write

HIDE_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[2K"
MANY = {f"{number:03}": b"value" for number in range(300)}


class Terminal:
    """A pseudo-terminal."""

    def __init__(self) -> None:
        self._screen, self._line = pty.openpty()
        self.seen = ""

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the command on the terminal."""
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), self._line)
        process = start(*arguments, env={"TERM": "xterm-256color"}, interrupted=True, **streams)
        os.close(self._line)
        return process

    @property
    def shown(self) -> str:
        """The text so far without the codes for colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.seen)

    def resize(self, columns: int) -> None:
        """Set the width of the terminal."""
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read_until(self, text: str) -> None:
        """Read until the text was shown."""
        while text not in self.seen:
            assert self._read(), f"{text!r} was never shown"

    def read_to_end(self) -> None:
        while self._read():
            pass

    def _read(self) -> str:
        try:
            data = os.read(self._screen, 4096).decode(errors="replace")
        except OSError:  # closed by the process
            return ""
        self.seen += data
        return data

    def close(self) -> None:
        os.close(self._screen)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_ctrl_c_leaves_the_terminal_of_a_bar_usable(terminal: Terminal, tmp_path: Path, slow_log: SlowLog) -> None:
    source = write(tmp_path / "source", MANY)
    options = ["--transaction-size", 300, "--log-file", slow_log.path]
    process = terminal.start("copy", source, f"sqlite:{tmp_path / 'a.db'}", *options)
    slow_log.wait_for("store.operation.ended", operation="set")
    terminal.read_until("/300")

    os.killpg(process.pid, signal.SIGINT)
    with ThreadPoolExecutor() as pool:
        draining = pool.submit(slow_log.drain)
        terminal.read_to_end()
        draining.result()

    assert process.wait(TIMEOUT) == 130
    assert "copying" in terminal.seen
    assert "stopped: 0 of 300 keys copied" in terminal.seen
    assert "encore: interrupted" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert HIDE_CURSOR not in terminal.seen  # a kill would leave it hidden


def test_no_progress_draws_nothing(terminal: Terminal, source: Path) -> None:
    process = terminal.start("copy", source, "memory:", "--no-progress")
    terminal.read_to_end()

    assert process.wait(TIMEOUT) == 0
    assert "4 of 4 keys copied" in terminal.seen
    assert ERASE_LINE not in terminal.seen


@pytest.mark.parametrize(("kind", "has_bars"), [("xterm-256color", True), ("dumb", False)])
def test_dumb_terminal_gets_lines(
    encore: Encore, source: Path, monkeypatch: pytest.MonkeyPatch, kind: str, has_bars: bool
) -> None:
    monkeypatch.setattr(session, "PlainProgress", functools.partial(PlainProgress, interval=0))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", kind)

    result = encore("copy", source, "memory:")

    assert (ERASE_LINE in result.out, "copying" in result.out) == (has_bars, not has_bars)
