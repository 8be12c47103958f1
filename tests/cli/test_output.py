"""Output that nobody reads, or that can't be written: the command ends as documented, and says nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.stores import SqliteStore
from tests.cli.conftest import FILES
from tests.cli.support import LONG, Done, SlowLog, done, read, start, write

MANY = {f"{number:03}": b"value" for number in range(300)}
HEAD = ("bash", "-c", '"$0" "$@" | head -1; echo ${PIPESTATUS[0]}')
"""Runs the command for someone who reads one line."""


def run(*arguments: object, shell: str) -> Done:
    """The command in a shell that sees to its output."""
    return done(start(*arguments, launcher=("bash", "-c", shell, "bash")))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def test_whoever_reads_only_the_beginning_ends_the_copy(source: Path, database: Path) -> None:
    told = done(start("copy", source, f"sqlite:{database}", "--port", 0, launcher=HEAD))

    assert told.out.splitlines()[1:] == ["141"]
    assert told.err == ""


def test_a_copy_that_nobody_reads_rolls_back_what_is_open_and_is_finished_by_the_next(
    tmp_path: Path, database: Path, slow_log: SlowLog
) -> None:
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

    assert (process.wait(LONG), err) == (141, "")
    again = done(start("copy", source, f"sqlite:{database}", "--verify"))
    assert again.status == 0
    with SqliteStore(database, event_manager=EventManager()) as store:
        assert {key: store.to_bytes(key) for key in store.query_keys()} == MANY


def test_a_line_of_progress_that_nobody_reads_rolls_back_at_once(tmp_path: Path, database: Path) -> None:
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

    assert (process.wait(LONG), err) == (141, "")
    with SqliteStore(database, event_manager=EventManager()) as store:
        assert list(store.query_keys()) == []


@pytest.mark.parametrize("arguments", ["dashboards there", "--help", "--version", "copy --help"])
def test_so_do_the_other_commands(tmp_path: Path, arguments: str) -> None:
    told = run(*arguments.split(), shell=f'cd {tmp_path}; (sleep 1; exec "$@") | true; echo ${{PIPESTATUS[0]}}')

    assert told.err == ""
    assert told.out == "141\n"


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_copy_needs_no_output(source: Path, tmp_path: Path, closed: str, option: str) -> None:
    told = run("copy", source, tmp_path / "target", option, shell=f'exec "$@" {closed}')

    assert told.status == 0
    assert told.err == ""
    assert read(tmp_path / "target") == FILES


@pytest.mark.parametrize("scheme", ["", "sqlite:"])
def test_what_is_opened_in_the_place_of_a_closed_output_is_not_written_to(
    source: Path, tmp_path: Path, scheme: str
) -> None:
    (source / "link").symlink_to("a.txt")
    for _ in range(2):
        assert run("copy", source, f"{scheme}{tmp_path / 'target'}", shell='exec "$@" >&- 2>&-').status == 0

    verified = done(start("copy", source, f"{scheme}{tmp_path / 'target'}", "--verify"))
    assert verified.status == 0
    assert "4 of 4 keys have arrived (4 of them before)" in verified.out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [("copy nothing memory:", 2), ("copy --bogus", 2), ("copy {0} {0}", 2), ("copy {0} sqlite:{0}", 1)],
)
@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_trouble_has_its_status_though_nobody_reads_of_it(
    source: Path, arguments: str, status: int, closed: str
) -> None:
    told = run(*arguments.format(source).split(), shell=f'sleep 0.1; "$@" {closed}')

    assert told.status == status


def test_keys_that_failed_have_their_status_though_nobody_reads_of_them(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target" / "a.txt").mkdir(parents=True)
    (source / "link").symlink_to("a.txt")
    for closed in ("2>&-", "2>/dev/full", "2> >(exec 0<&-; sleep 0.1)"):
        told = run("copy", source, tmp_path / "target", shell=f'"$@" {closed}')
        assert told.status == 1
        assert "3 of 4 keys have arrived" in told.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_cannot_be_written_is_one_line_of_trouble(source: Path, tmp_path: Path) -> None:
    told = run("copy", source, tmp_path / "target", shell='exec "$@" > /dev/full')

    assert (told.status, told.err) == (1, "encore: [Errno 28] No space left on device\n")
    assert read(tmp_path / "target") == FILES
