"""Copies that are interrupted or killed half-way, at a moment that their log tells, and the same command again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from encore_events import EventManager
from encore_storage.cli import app
from encore_storage.stores import FileSystemStore, SqliteStore
from tests.cli.conftest import Encore
from tests.cli.support import SlowLog, done, read, start, write

MANY = {f"{number:03}": b"value" for number in range(300)}
FIRST_BATCH = set(sorted(MANY)[:150])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source", MANY)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def half_way(source: Path, database: Path, slow_log: SlowLog) -> Iterator[subprocess.Popen[str]]:
    """A copy that has committed the first of two batches, and is in the middle of the second.

    What the log holds unread is less than a batch, so the command can't get to the end of it.
    """
    options = ("--transaction-size", 150, "--log-file", slow_log.path)
    process = start("copy", source, f"sqlite:{database}", *options, interrupted=True)
    slow_log.wait_for("store.transaction.committed", operations=150)
    slow_log.wait_for("store.operation.ended", operation="set")
    yield process
    process.kill()


def keys_of(database: Path) -> set[str]:
    with SqliteStore(database, event_manager=EventManager()) as store:
        return set(store.query_keys())


def test_ctrl_c_rolls_the_open_transaction_back_and_says_what_arrived(
    half_way: subprocess.Popen[str], slow_log: SlowLog, database: Path
) -> None:
    os.killpg(half_way.pid, signal.SIGINT)
    slow_log.wait_for("store.transaction.rolled_back")
    slow_log.drain()
    told = done(half_way)

    assert told.status == 130
    assert "stopped: 150 of 300 keys have arrived; the same command again copies the rest\n" in told.out
    assert "commits: 1, rollbacks: 1" in told.out
    assert told.err.strip() == "encore: interrupted"
    assert keys_of(database) == FIRST_BATCH


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_again_finishes_the_rest(
    encore: Encore,
    half_way: subprocess.Popen[str],
    slow_log: SlowLog,
    source: Path,
    database: Path,
    number: signal.Signals,
) -> None:
    os.killpg(half_way.pid, number)
    slow_log.drain()
    done(half_way)
    assert keys_of(database) == FIRST_BATCH

    again = encore("copy", source, f"sqlite:{database}", "--verify")

    assert (again.status, again.last_line) == (0, "300 of 300 keys have arrived (150 of them before)")
    assert keys_of(database) == set(MANY)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, typer.Abort])
def test_whatever_typer_makes_of_an_interrupt_the_status_is_130(
    encore: Encore, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    def interrupted(**_options: object) -> None:
        raise interrupt

    monkeypatch.setattr(app, "app", interrupted)

    assert encore("demo") == (130, "", "encore: interrupted\n")


def test_without_transactions_each_key_that_arrived_stays(
    encore: Encore, source: Path, tmp_path: Path, slow_log: SlowLog
) -> None:
    process = start("copy", source, tmp_path / "target", "--log-file", slow_log.path, interrupted=True)
    slow_log.wait_for("store.operation.ended", operation="set", key="020")
    os.killpg(process.pid, signal.SIGINT)
    slow_log.drain()
    told = done(process)
    there = len(set(FileSystemStore(tmp_path / "target", event_manager=EventManager()).query_keys()))

    again = encore("copy", source, tmp_path / "target")

    (arrived,) = re.findall(r"^stopped: (\d+) of 300 keys have arrived", told.out, re.MULTILINE)
    assert told.status == 130
    assert int(arrived) in {there - 1, there}  # it may have been interrupted while it told of the last
    assert (again.status, again.last_line) == (0, f"300 of 300 keys have arrived ({there} of them before)")
    assert read(tmp_path / "target") == MANY


def test_an_interrupt_that_python_ignores_is_not_lost(
    source: Path, database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    ignored: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda what: ignored.append(what.exc_type))
    copied = FileSystemStore.get

    def get_and_finalize(store: FileSystemStore, key: str) -> object:
        if key == "200":
            Finalized()
        return copied(store, key)

    monkeypatch.setattr(FileSystemStore, "get", get_and_finalize)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    status = app.run(["copy", str(source), f"sqlite:{database}", "--transaction-size", "150"])

    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert ignored == [KeyboardInterrupt]
    assert status == 130
    assert "stopped: 150 of 300 keys have arrived" in capsys.readouterr().out


def test_an_interrupt_that_means_something_else_still_does(
    source: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert app.run(["copy", str(source), f"sqlite:{database}"]) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
