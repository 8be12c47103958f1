"""Fixtures for tests of the command."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from encore_events import EventManager
from encore_storage.cli import app
from encore_storage.stores.abstract import AbstractStore
from tests.cli.copies import MakeStore, PlainStore
from tests.cli.support import Result, SlowLog, write
from tests.storage.support import STORES

Encore = Callable[..., Result]
NOBODY = 65534
FILES = {"a.txt": b"one", "b/c.txt": b"three", "b/d.bin": bytes(range(256)) * 64, "empty": b""}


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove environment variables that change the output."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(autouse=True)
def restored_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the logger `encore_events`, which the command silences."""
    logger = logging.getLogger("encore_events")
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    monkeypatch.setattr(logger, "handlers", logger.handlers.copy())


@pytest.fixture
def encore(capsys: pytest.CaptureFixture[str]) -> Encore:
    """Return a function that runs the command in this process."""

    def run(*arguments: object) -> Result:
        status = app.run_command([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(status, out, err)

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


@pytest.fixture
def make_store(tmp_path: Path, manager: EventManager) -> Iterator[MakeStore]:
    with ExitStack() as stack:

        def make(kind: str, name: str) -> AbstractStore:
            options: dict[str, Any] = {"name": name, "event_manager": manager}
            if kind == "plain":
                return PlainStore(**options)
            return stack.enter_context(STORES[kind](tmp_path / name, **options))

        yield make


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory of an unprivileged user; the process acts as that user for the length of the test."""
    folder = Path(tempfile.mkdtemp())
    me = os.geteuid()
    user = me or NOBODY
    os.chown(folder, user, -1)
    os.seteuid(user)
    try:
        yield folder
    finally:
        os.seteuid(me)
        for path in folder.rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(folder)
