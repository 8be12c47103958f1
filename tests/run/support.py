"""Programs run by the real `encore run`: with pipes, or typed into a shell at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
ENCORE = Path(sys.executable).parent / "encore"
SECONDS = 30.0


def environment(**variables: str) -> dict[str, str]:
    """Return this process's variables without those of coverage and of an `encore run` that runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "ENCORE_"))}
    return {**own, **variables}


def run(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `encore run` to its end, with more variables in `env`."""
    return subprocess.run(
        [str(ENCORE), "run", *map(str, arguments)],
        cwd=cwd,
        env=environment(**env or {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start `encore run` with pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    settings: dict[str, Any] = {"env": environment(), **pipes, **options}
    command = [str(ENCORE), "run", *map(str, arguments)]
    made: subprocess.Popen[str] = subprocess.Popen(command, text=True, **settings)
    return made


class Shell:
    """An interactive shell at a terminal of its own, in which commands are typed."""

    def __init__(self, cwd: Path) -> None:
        self._read = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            variables = environment(PS1="> ", TERM="xterm", ENCORE=str(ENCORE))
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], variables)
        self.type("bind 'set enable-bracketed-paste off'; stty -echo; echo READY=$((1 + 1))\n")
        self.expect("READY=2")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):
            os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def type(self, text: str) -> None:
        """Type a line, or a key."""
        os.write(self._terminal, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the terminal shows the pattern after what was expected before."""
        end = time.monotonic() + SECONDS
        while True:
            text = self._read.decode(errors="replace")
            found = re.search(pattern, text)
            if found is not None:
                self._read = text[found.end() :].encode()
                return found
            ready, _, _ = select.select([self._terminal], [], [], end - time.monotonic())
            assert ready, f"{pattern!r} is not in {text!r}"
            self._read += os.read(self._terminal, 65536)
