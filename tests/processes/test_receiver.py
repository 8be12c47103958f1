"""The frames and connections that a receiver takes, and those that it refuses."""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from encore_storage.processes import owned_thread
from encore_storage.processes import receiver as module
from encore_storage.processes.errors import SocketPathError
from encore_storage.processes.frames import BYE, HELLO, STATE, events_frame, frame, hello_frame
from encore_storage.processes.receiver import Receiver, log_vanished
from encore_storage.processes.sender import Sender
from encore_storage.processes.sockets import connect
from tests.processes.link_support import PROCESS, Kept, payload, receiving
from tests.server.support import until

NO_COVERAGE = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
"""The environment of a process that may not write to the directory of its parent."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sock"


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def vanished(path: Path, kept: Kept) -> Iterator[Sequence[object]]:
    with receiving(path, kept) as found:
        yield found


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other end has closed the connection."""
    connection.settimeout(20)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_socket_is_private_and_removed_at_the_end(path: Path, kept: Kept) -> None:
    before = os.umask(0)
    try:
        receiver = Receiver(path, kept)
        receiver.start()
    finally:
        os.umask(before)
    status = path.lstat()

    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert repr(receiver) == f"<Receiver at {str(path)!r}: 0 connections>"
    receiver.close()
    receiver.close()
    assert not path.exists()


def test_socket_of_another_receiver_is_not_removed(path: Path, kept: Kept) -> None:
    first, second = Receiver(path, kept), Receiver(path, kept)
    first.start()
    second.start()  # the first one has been killed, as far as the second one knows

    first.close()

    assert path.exists()
    second.close()


def test_receiver_that_never_started_closes(path: Path, kept: Kept) -> None:
    Receiver(path, kept).close()


def test_long_path_is_no_problem(tmp_path: Path, kept: Kept) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with receiving(deep / "events.sock", kept):
        sender = Sender(deep / "events.sock", PROCESS)
        assert sender.connect()
        sender.close()


def test_planted_file_is_left_alone(path: Path, kept: Kept) -> None:
    path.write_text("precious")

    with pytest.raises(SocketPathError, match="something else than a socket is there"):
        Receiver(path, kept).start()

    assert path.read_text() == "precious"


def test_planted_link_is_left_alone(path: Path, kept: Kept) -> None:
    target = path.with_name("target.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(target))
        path.symlink_to(target)

        with pytest.raises(SocketPathError, match="something else than a socket is there"):
            Receiver(path, kept).start()

    assert path.is_symlink()
    assert target.exists()


def test_dangling_link_is_left_alone(path: Path, kept: Kept) -> None:
    path.symlink_to(path.with_name("elsewhere"))

    with pytest.raises(OSError, match="something else than a socket is there"):
        Receiver(path, kept).start()

    assert not path.with_name("elsewhere").exists()


def test_missing_directory_is_an_error(tmp_path: Path, kept: Kept) -> None:
    with pytest.raises(FileNotFoundError):
        Receiver(tmp_path / "none" / "events.sock", kept).start()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0" * 100_000,
        frame(STATE, b"{}"),
        frame(HELLO, b"{}"),
        frame(HELLO, b"x" * 5000),
        hello_frame(PROCESS) * 2,
        hello_frame(PROCESS) + b"\x02\xff\xff\xff\xff",
        hello_frame(PROCESS) + events_frame(b"malformed"),
        hello_frame(PROCESS) + frame(STATE, b"malformed"),
        hello_frame(PROCESS) + frame(BYE) + frame(STATE, b"{}"),
    ],
)
def test_garbage_closes_the_connection(
    path: Path, kept: Kept, vanished: Sequence[object], garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(path) as connection:
        connection.setblocking(True)
        connection.sendall(garbage)
        assert is_closed(connection)

    assert (kept.texts, kept.states) == ([], [])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    sender = Sender(path, PROCESS)
    assert sender.connect()
    assert sender.put(payload(b"after"), 1)
    sender.close()
    until(lambda: kept.texts == [b"after"])


def test_failing_destination_closes_the_connection(path: Path, kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.take_events = lambda _: 1 / 0  # type: ignore[assignment, method-assign]  # so that it raises
    with receiving(path, kept):
        sender = Sender(path, PROCESS)
        assert sender.connect()
        sender.put(payload(b"a"), 1)
        assert sender.wait_closed(20)

    assert caplog.records[0].exc_info is not None


def test_half_frame_is_discarded_with_its_connection(path: Path, kept: Kept, vanished: Sequence[object]) -> None:
    whole = events_frame(payload(b"whole"))
    with connect(path) as connection:
        connection.setblocking(True)
        connection.sendall(hello_frame(PROCESS) + whole + whole[:-3])
    until(lambda: kept.left)

    assert kept.texts == [b"whole"]
    assert kept.left == [True]
    assert vanished == [(PROCESS, {("archive", "get"): 3})]


def test_connection_without_a_greeting_is_closed(path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GREETING_SECONDS", 0.1)
    with receiving(path, kept), connect(path) as connection:
        assert is_closed(connection)

    assert kept.joined == []


def test_connections_are_limited(path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    with receiving(path, kept):
        senders = [Sender(path, PROCESS._replace(pid=pid)) for pid in (1, 2, 3)]
        assert all(sender.connect() for sender in senders)
        assert senders[2].wait_closed(20)
        assert not senders[0].wait_closed(0)
        for sender in senders:
            sender.close()


def test_200_members_are_served(path: Path, kept: Kept, vanished: Sequence[object]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    senders = [Sender(path, PROCESS._replace(pid=pid)) for pid in range(1, 201)]
    assert all(sender.connect() for sender in senders)
    for number in range(5):
        for sender in senders:
            assert sender.put(payload(b"%d" % number), 1)
    for sender in senders:
        sender.close()
    until(lambda: len(kept.left) == 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(kept.texts) == 1000
    assert vanished == []


def test_flooding_member_does_not_delay_others(path: Path, kept: Kept, vanished: Sequence[object]) -> None:
    flooding, calm = Sender(path, PROCESS, max_bytes=2_000_000), Sender(path, PROCESS._replace(pid=8))
    assert flooding.connect()
    assert calm.connect()
    flood = payload(*[b"x" * 400] * 250)
    end = time.monotonic() + 1.5
    delays = []
    while time.monotonic() < end:
        while flooding.put(flood, 250):
            pass
        before, text = time.monotonic(), b"%f" % time.monotonic()
        assert calm.put(payload(text), 1)
        until(lambda text=text: text in kept.texts[-3000:])  # type: ignore[misc]  # mypy takes it for a loop variable
        delays.append(time.monotonic() - before)

    assert calm.unsent == 0
    assert flooding.unsent > 0
    assert sorted(delays)[len(delays) // 2] < 1
    flooding.close()
    calm.close()


def test_member_that_reads_no_acknowledgements_is_served(path: Path, kept: Kept, vanished: Sequence[object]) -> None:
    count = 20_000
    with connect(path) as connection:
        connection.setblocking(True)
        connection.sendall(hello_frame(PROCESS))
        for _ in range(count):
            connection.sendall(events_frame(payload(b"a")))
        until(lambda: len(kept.texts) == count)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_user_is_refused(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path("/tmp") / f"encore-test-{os.getpid()}"
    folder.mkdir(mode=0o777)
    path = folder / "events.sock"
    program = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as one:
    one.connect({str(path)!r})
    try:
        one.sendall({hello_frame(PROCESS)!r})
        print(one.recv(1))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
"""
    try:
        with receiving(path, kept):
            folder.chmod(0o777)
            path.chmod(0o777)  # as if the directory and the mode had not protected it
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, env=NO_COVERAGE, capture_output=True, text=True, check=False)
    finally:
        folder.rmdir()

    assert (done.stdout, done.stderr) == ("b''\n", "")
    assert kept.joined == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_socket_of_another_user_is_neither_used_nor_removed(kept: Kept) -> None:
    folder = Path("/tmp") / f"encore-test-{os.getpid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    path = folder / "events.sock"
    program = f"""
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as one:
    one.bind({str(path)!r})
    one.listen()
    print("ready", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=NO_COVERAGE, text=True, **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        connected = Sender(path, PROCESS).connect()
        with pytest.raises(SocketPathError, match="a socket of another user is there"):
            Receiver(path, kept).start()
        assert path.exists()
    path.unlink()
    folder.rmdir()

    assert not connected


def test_vanished_process_is_a_warning_if_it_was_at_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log_vanished(PROCESS, {("archive", "get"): 1, ("archive", "set"): 2})
    log_vanished(PROCESS, {})

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "process 7 (worker.py) has vanished with get of 'archive', set of 'archive' (2) in flight"),
        ("INFO", "process 7 (worker.py) has vanished with nothing in flight"),
    ]


def fail(*_: object) -> bool:
    raise ZeroDivisionError


def test_failing_on_vanished_disturbs_no_other_connection(
    path: Path, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(path, kept, on_vanished=fail)
    receiver.start()
    for number in range(2):
        with connect(path) as connection:
            connection.sendall(hello_frame(PROCESS))
            until(lambda: len(kept.joined) == number + 1)  # noqa: B023 (called at once)
        until(lambda: len(kept.left) == number + 1)  # noqa: B023 (called at once)
    receiver.close()

    assert [record.message.partition(" ")[0] for record in caplog.records] == ["on_vanished"] * 2


def test_failing_logging_filter_does_not_end_the_receiver(
    path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = list[object]()
    monkeypatch.setattr(threading, "excepthook", shown.append)
    monkeypatch.setattr(logging.getLogger("encore_storage"), "filters", [fail])
    with receiving(path, kept):
        with connect(path) as connection:
            connection.sendall(b"garbage" * 10)
            assert is_closed(connection)
        sender = Sender(path, PROCESS)
        assert sender.connect()
        sender.put(payload(b"after"), 1)
        sender.close()
        until(lambda: kept.texts == [b"after"])

    assert len(shown) == 1


def test_failed_round_does_not_end_the_receiver(
    path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owned_thread, "FAILED_SECONDS", 0.0)
    accept, failures = Receiver._accept, [MemoryError()]

    def fail_once(receiver: Receiver) -> None:
        if failures:
            raise failures.pop()
        accept(receiver)

    monkeypatch.setattr(Receiver, "_accept", fail_once)
    with receiving(path, kept):
        sender = Sender(path, PROCESS)
        assert sender.connect()
        sender.put(payload(b"after"), 1)
        sender.close()
        until(lambda: kept.texts == [b"after"])

    assert [record.message for record in caplog.records] == [
        "a round of the thread 'encore-receiver' failed; it goes on"
    ]
