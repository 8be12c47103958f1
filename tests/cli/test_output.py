"""Output that is closed, unread or full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.stores import SqliteStore
from tests.cli.conftest import FILES
from tests.cli.support import TIMEOUT, Result, SlowLog, finish, read, start, write

MANY = {f"{number:03}": b"value" for number in range(300)}
HEAD = ("bash", "-c", '"$0" "$@" | head -1; echo ${PIPESTATUS[0]}')
"""Runs the command, reads one line and prints the exit status."""


def run(*arguments: object, shell: str) -> Result:
    """Run the command in a shell, which redirects its output."""
    return finish(start(*arguments, launcher=("bash", "-c", shell, "bash")))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def test_reader_that_stops_early_ends_the_copy(source: Path, database: Path) -> None:
    result = finish(start("copy", source, f"sqlite:{database}", "--port", 0, launcher=HEAD))

    assert result.out.splitlines()[1:] == ["141"]
    assert result.err == ""


def test_copy_to_a_closed_pipe_rolls_back_and_can_be_resumed(tmp_path: Path, database: Path, slow_log: SlowLog) -> None:
    source = write(tmp_path / "source", MANY)
    options = ("--transaction-size", 150, "--log-file", slow_log.path)
    process = start("copy", source, f"sqlite:{database}", *options)
    assert process.stdout is not None
    assert process.stderr is not None
    slow_log.wait_for("store.transaction.committed", operations=150)
    process.stdout.close()
    slow_log.drain()
    err = process.stderr.read()
    process.stderr.close()

    assert (process.wait(TIMEOUT), err) == (141, "")
    again = finish(start("copy", source, f"sqlite:{database}", "--verify"))
    assert again.status == 0
    with SqliteStore(database, event_manager=EventManager()) as store:
        assert {key: store.to_bytes(key) for key in store.query_keys()} == MANY


def test_progress_line_to_a_closed_pipe_rolls_back(tmp_path: Path, database: Path) -> None:
    source = write(tmp_path / "source", MANY)
    program = (
        "import functools, sys\n"
        "from encore_storage.cli import entry, session\n"
        "from encore_storage.cli.report import PlainProgress\n"
        "session.PlainProgress = functools.partial(PlainProgress, interval=0)\n"
        "entry.main()\n"
    )
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            tmp_path / "program.py",
            "copy",
            source,
            f"sqlite:{database}",
            "--transaction-size",
            "1000",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("copying: ")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert (process.wait(TIMEOUT), err) == (141, "")
    with SqliteStore(database, event_manager=EventManager()) as store:
        assert list(store.query_keys()) == []


@pytest.mark.parametrize("arguments", ["dashboards there", "--help", "--version", "copy --help"])
def test_other_commands_exit_with_141(tmp_path: Path, arguments: str) -> None:
    result = run(*arguments.split(), shell=f'cd {tmp_path}; (sleep 1; exec "$@") | true; echo ${{PIPESTATUS[0]}}')

    assert result.err == ""
    assert result.out == "141\n"


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_copy_succeeds_with_closed_streams(source: Path, tmp_path: Path, closed: str, option: str) -> None:
    result = run("copy", source, tmp_path / "target", option, shell=f'exec "$@" {closed}')

    assert result.status == 0
    assert result.err == ""
    assert read(tmp_path / "target") == FILES


@pytest.mark.parametrize("scheme", ["", "sqlite:"])
def test_file_that_reuses_a_closed_descriptor_is_not_written_to(source: Path, tmp_path: Path, scheme: str) -> None:
    (source / "link").symlink_to("a.txt")
    for _ in range(2):
        assert run("copy", source, f"{scheme}{tmp_path / 'target'}", shell='exec "$@" >&- 2>&-').status == 0

    verified = finish(start("copy", source, f"{scheme}{tmp_path / 'target'}", "--verify"))
    assert verified.status == 0
    assert "4 of 4 keys copied (4 already up to date)" in verified.out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [("copy nothing memory:", 2), ("copy --bogus", 2), ("copy {0} {0}", 2), ("copy {0} sqlite:{0}", 1)],
)
@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_status_of_an_error_without_standard_error(source: Path, arguments: str, status: int, closed: str) -> None:
    result = run(*arguments.format(source).split(), shell=f'sleep 0.1; "$@" {closed}')

    assert result.status == status


def test_status_of_failed_keys_without_standard_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target" / "a.txt").mkdir(parents=True)
    (source / "link").symlink_to("a.txt")
    for closed in ("2>&-", "2>/dev/full", "2> >(exec 0<&-; sleep 0.1)"):
        result = run("copy", source, tmp_path / "target", shell=f'"$@" {closed}')
        assert result.status == 1
        assert "3 of 4 keys copied" in result.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_output_device_is_one_line(source: Path, tmp_path: Path) -> None:
    result = run("copy", source, tmp_path / "target", shell='exec "$@" > /dev/full')

    assert (result.status, result.err) == (1, "encore: [Errno 28] No space left on device\n")
    assert read(tmp_path / "target") == FILES
