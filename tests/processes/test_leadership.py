"""The choice of the process that serves a group: one leader at a time, another one as soon as it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encore_storage.processes import leadership as module
from encore_storage.processes import owned_thread
from encore_storage.processes.leadership import LEADER, Leadership
from tests.forking import run_forking

# The leader listens on a socket, as the real one does: its end reaches the followers at once. A forked child keeps it.
MEMBER = """
import os, select, socket, sys, threading, time
from pathlib import Path
from encore_storage.processes.leadership import Leadership

class Duties:
    def __init__(self, directory):
        self.path = str(directory / "socket")
        self.stopping = os.pipe()

    def lead(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        print("leads", flush=True)

    def tick(self):
        pass

    def resign(self):
        self.server.close()

    def follow(self, seconds):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self.path)
            except OSError:
                return
            print("follows", flush=True)
            select.select([connection, self.stopping[0]], [], [], seconds)

    def stop_following(self):
        os.write(self.stopping[1], b"x")

directory = Path(sys.argv[1])
leadership = Leadership(directory, Duties(directory))
"""
RUN = """
leadership.start()
sys.stdin.read()
leadership.close()
"""


Member = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    """Starts other processes, which end with the test."""
    with contextlib.ExitStack() as stack:

        def start(run: str = RUN) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", MEMBER + run, str(tmp_path)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def first_to_lead(members: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Wait until one of the members prints that it leads."""
    outputs = {each.stdout.fileno(): each for each in members if each.stdout is not None}
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for number in select.select(list(outputs), [], [], 1)[0]:
            if "leads" in os.read(number, 1000).decode():
                return outputs[number]
    pytest.fail("nobody leads")


class Recorder:
    """Duties that record their calls."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = list[str]()
        self.error = error
        self.stopped = threading.Event()

    def lead(self) -> None:
        self.calls.append("lead")
        if self.error is not None:
            raise self.error

    def tick(self) -> None:
        self.calls.append("tick")

    def resign(self) -> None:
        self.calls.append("resign")

    def follow(self, seconds: float) -> None:
        self.calls.append("follow")
        self.stopped.wait()

    def stop_following(self) -> None:
        self.stopped.set()


def test_first_member_leads_at_once_in_the_calling_thread(tmp_path: Path) -> None:
    before, duties = set(threading.enumerate()), Recorder()
    leadership = Leadership(tmp_path, duties)

    leadership.start()

    assert duties.calls == ["lead"]
    assert repr(leadership) == "<Leadership: leads>"
    leadership.close()
    leadership.close()
    assert duties.calls == ["lead", "resign"]
    assert set(threading.enumerate()) <= before


def test_process_without_directory_leads_alone() -> None:
    first, second = Recorder(), Recorder()
    leaderships = [Leadership(None, first), Leadership(None, second)]
    for each in leaderships:
        each.start()
        each.close()

    assert first.calls == second.calls == ["lead", "resign"]


def test_leader_that_cannot_serve_raises_and_keeps_no_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="port is taken"):
        Leadership(tmp_path, Recorder(OSError("port is taken"))).start()

    other = Recorder()
    leadership = Leadership(tmp_path, other)
    leadership.start()
    assert other.calls == ["lead"]
    leadership.close()


def test_follower_closes_without_waiting_for_the_leader(tmp_path: Path) -> None:
    leader, duties = Leadership(tmp_path, Recorder()), Recorder()
    leader.start()
    follower = Leadership(tmp_path, duties)
    follower.start()
    assert repr(follower) == "<Leadership: follows>"
    follower.close()

    assert set(duties.calls) <= {"follow"}
    leader.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_another_member_leads_when_the_leader_ends(end: signal.Signals | None, member: Member) -> None:
    leader = member()
    assert line_of(leader) == "leads"
    followers = [member() for _ in range(3)]
    assert [line_of(each) for each in followers] == ["follows"] * 3

    if end is None:
        leader.communicate()
    else:
        leader.send_signal(end)
        leader.wait()

    assert first_to_lead(followers) in followers


def test_one_leader_at_a_time_whoever_is_killed(member: Member) -> None:
    program = """
import fcntl
duties = leadership._duties
lead, alone = duties.lead, os.open(directory / "alone", os.O_RDWR | os.O_CREAT)
def checked():
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another leader would hold it
    lead()
duties.lead = checked
"""
    members = [member(program + RUN) for _ in range(4)]
    while members:
        leader = first_to_lead(members)
        leader.kill()
        leader.communicate()
        members.remove(leader)


def test_forked_child_does_not_keep_its_killed_parent_leader(member: Member) -> None:
    program = """
leadership.start()
child = os.fork()
if not child:
    os.close(1)
    time.sleep(600)
print(child, flush=True)
sys.stdin.read()
"""
    leader = member(program)
    assert line_of(leader) == "leads"
    child = int(line_of(leader))
    follower = member()
    assert line_of(follower) == "follows"
    leader.kill()

    assert first_to_lead([follower]) is follower  # although the child has the socket
    os.kill(child, signal.SIGKILL)


def test_child_can_close_what_it_inherits(tmp_path: Path) -> None:
    printed = run_forking(
        """
import sys
from pathlib import Path
from encore_storage.processes.leadership import Leadership
from tests.forking import *
class Duties:
    lead = tick = resign = stop_following = lambda self: None
leadership = Leadership(Path(sys.argv[1]), Duties())
leadership.start()
print(forked(leadership.close))
leadership.close()
""",
        tmp_path,
    )

    assert printed == ["None"]


def test_closed_descriptor_of_the_lock_is_no_error(tmp_path: Path) -> None:
    duties = Recorder()
    leadership = Leadership(tmp_path, duties)
    leadership.start()
    assert leadership._lock is not None
    os.close(leadership._lock.number)
    with socket.socket() as reuses_the_number:
        leadership.close()

        assert reuses_the_number.fileno() >= 0
        assert reuses_the_number.getsockname()
    assert (tmp_path / LEADER).exists()


class Disturbed(Recorder):
    """Duties that fail once at each call, and let the thread begin the next round at once."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.done = done
        self.failed = set[str]()

    def _fail_once(self, call: str) -> None:
        self.calls.append(call)
        if call not in self.failed:
            self.failed.add(call)
            raise ZeroDivisionError

    def lead(self) -> None:
        self._fail_once("lead")

    def tick(self) -> None:
        self._fail_once("tick")
        self.done.set()


@pytest.mark.parametrize("filters", [[], [lambda _: 1 / 0]], ids=["logged", "failing filter"])
def test_failed_duties_do_not_end_the_leadership(
    filters: list[Callable[[object], bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned_thread, "FAILED_SECONDS", 0.0)
    monkeypatch.setattr(module, "_TICK", 0.0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(logging.getLogger("encore_events"), "filters", filters)
    done = threading.Event()
    duties = Disturbed(done)
    leadership = Leadership(tmp_path, duties)

    leadership.start_in_background()

    assert done.wait(20)
    leadership.close()
    assert duties.calls[:4] == ["lead", "lead", "tick", "tick"]
    assert duties.calls[-1] == "resign"
