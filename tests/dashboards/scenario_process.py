"""The scenario, started in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.dashboards.servers import LONG

SCRIPT = Path(__file__).with_name("scenario.py")


class ScenarioError(Exception):
    """The scenario went wrong: what it said of that."""


class Scenario:
    """The scenario at work, for a block; in its process, warnings are errors.

    Attributes:
        address: where its metrics are.
    """

    def __enter__(self) -> Self:
        """Start it, and wait until it is at work."""
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT],
            env={**os.environ, "PYTHONWARNINGS": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.address = self._answer()
        if not self.address:
            self._end()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it.

        Raises:
            ScenarioError: something went wrong in it.
        """
        self._end()

    @property
    def target(self) -> str:
        """Its host and port, for a scraper."""
        return urlsplit(self.address).netloc

    def send(self, command: str) -> None:
        """Tell it what to do from now on, and wait until it does: 'break archive', 'mend archive', 'quiet', 'busy'."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._answer() == command

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _end(self) -> None:
        with self._errors, self._process, contextlib.ExitStack() as ending:
            ending.callback(self._process.kill)  # if it does not end by itself
            self._process.communicate(timeout=LONG)
            self._errors.seek(0)
            said = self._errors.read()
        if said or self._process.returncode:
            raise ScenarioError(f"it ended with {self._process.returncode}:\n{said}")
