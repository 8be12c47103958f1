"""The scenario in a separate process."""

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

from tests.dashboards.servers import TIMEOUT

SCRIPT = Path(__file__).with_name("scenario.py")


class ScenarioError(Exception):
    """The scenario failed; the message has its standard error."""


class Scenario:
    """The scenario, running for a block with warnings as errors.

    Attributes:
        address: of its metrics.
    """

    def __enter__(self) -> Self:
        """Start the process, and wait until it runs."""
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
        """End the process.

        Raises:
            ScenarioError: the scenario failed.
        """
        self._end()

    @property
    def target(self) -> str:
        """Its host and port."""
        return urlsplit(self.address).netloc

    def send(self, command: str) -> None:
        """Send a command, such as 'break archive', and wait until it takes effect."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._answer() == command

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _end(self) -> None:
        with self._errors, self._process, contextlib.ExitStack() as ending:
            ending.callback(self._process.kill)  # unless it has ended by itself
            self._process.communicate(timeout=TIMEOUT)
            self._errors.seek(0)
            errors = self._errors.read()
        if errors or self._process.returncode:
            raise ScenarioError(f"it ended with {self._process.returncode}:\n{errors}")
