"""The command in this process, and the stores that it copies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encore_storage.cli import app
from tests.cli.support import Done, SlowLog, write

Encore = Callable[..., Done]
FILES = {"a.txt": b"one", "b/c.txt": b"three", "b/d.bin": bytes(range(256)) * 64, "empty": b""}


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """What surrounds the tests does not decide how the command looks."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(autouse=True)
def logger_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command silences the logger of the bus, for its own process."""
    logger = logging.getLogger("encore_events")
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "handlers", logger.handlers.copy())


@pytest.fixture
def encore(capsys: pytest.CaptureFixture[str]) -> Encore:
    """Runs the command in this process."""

    def run(*arguments: object) -> Done:
        status = app.run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of a few files."""
    return write(tmp_path / "source", FILES)


@pytest.fixture
def slow_log(tmp_path: Path) -> Iterator[SlowLog]:
    log = SlowLog(tmp_path / "pipe")
    yield log
    log.close()
