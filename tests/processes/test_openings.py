"""Forks in the middle of the opening of a descriptor: the child gets no copy that nothing releases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from encore_storage.processes import descriptors
from tests.forking import run_forking

# One thread opens something, and pauses before it is registered. The main thread forks then, or waits for it.
OPENINGS = """
import contextlib, mmap, os, socket, sys, threading
from pathlib import Path
from unittest.mock import patch
from encore_storage.processes import cell_files, descriptors
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.directory import GroupDirectory
from encore_storage.processes.leadership import Leadership
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from encore_storage.server.serving import Server
from tests.forking import *
from tests.processes.link_support import PROCESS, Kept

path = Path(sys.argv[1])
kept = []
empty = path / "empty"  # reading files of cells opens them, too
empty.mkdir()
receiver = Receiver(path / "listening", Kept())
receiver.start()

class Duties:
    lead = tick = resign = stop_following = lambda self: None

OPENINGS = {
    "file of cells": (os, "open", CellDirectory(path).create),
    "mapping": (cell_files, "mmap", CellDirectory(path).create),
    "lock of folding": (os, "open", CellDirectory(empty).fold),
    "lock of members": (os, "open", lambda: GroupDirectory.join(path, "k")),
    "lock of the leader": (os, "open", Leadership(path, Duties()).start),
    "socket": (socket.socket, "__init__", Receiver(path / "another", Kept()).start),
    "pair": (socket, "socketpair", Receiver(path / "a third", Kept()).start),
    "connection": (socket.socket, "__init__", Sender(path / "listening", PROCESS).connect),
    "accepted connection": (socket.socket, "accept", Sender(path / "listening", PROCESS).connect),
    "port": (socket.socket, "__init__", lambda: Server(None, "127.0.0.1", 0)),  # last: its loop has sockets
}

def is_waiting():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code is not descriptors._Openings._before.__code__:
        frame = frame.f_back
    return frame is not None

def copies():
    links = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            links.append(os.readlink("/proc/self/fd/" + each))
    return [link for link in links if link.startswith((str(path), "socket:")) and not os.path.isdir(link)]

def fork_meanwhile(owner, name, work):
    opened, has_forked, call = threading.Event(), threading.Event(), getattr(owner, name)

    def open_and_pause(*args, **kwargs):
        made = call(*args, **kwargs)
        if not opened.is_set() and threading.current_thread() is not threading.main_thread():
            opened.set()
            until(lambda: has_forked.is_set() or is_waiting())
        return made

    with patch.object(owner, name, open_and_pause):
        thread = threading.Thread(target=lambda: kept.append(work()))
        thread.start()
        opened.wait()
        reading, writing = os.pipe()
        child = fork()
        if child == 0:
            os.write(writing, repr(copies()).encode())
            os._exit(0)
        has_forked.set()
        thread.join()
    return answer_of(child, reading, writing)

for name, opening in OPENINGS.items():
    print(f"{name}: {fork_meanwhile(*opening)}", flush=True)
"""


def test_child_forked_by_another_thread_has_no_copy(tmp_path: Path) -> None:
    assert run_forking(OPENINGS, tmp_path) == [
        "file of cells: []",
        "mapping: []",
        "lock of folding: []",
        "lock of members: []",
        "lock of the leader: []",
        "socket: []",
        "pair: []",
        "connection: []",
        "accepted connection: []",
        "port: []",
    ]


IN_THE_MIDDLE = {
    "before its registration": "own(forking(os.open(path, os.O_RDWR)))",
    "after its registration": "forking(own(os.open(path, os.O_RDWR)))",
}


@pytest.mark.parametrize("opening", IN_THE_MIDDLE.values(), ids=IN_THE_MIDDLE)
def test_child_forked_by_the_thread_itself_has_no_copy_and_an_error(opening: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    printed = run_forking(
        f"""
import os, sys
from encore_storage.processes import descriptors
from tests.forking import *
path, pipe, children = sys.argv[1], os.pipe(), []

def forking(made):
    children.append(fork())
    return made

def work():
    with descriptors.opening() as own:
        made = {opening}
    return made.is_open

answer = outcome(work)
if children == [0]:
    copies = [each for each in os.listdir("/proc/self/fd") if os.path.realpath("/proc/self/fd/" + each) == path]
    os.write(pipe[1], f"{{answer}} {{copies}}".encode())
    os._exit(0)
print(answer, answer_of(children[0], *pipe))
""",
        tmp_path / "file",
    )

    assert printed == ["True OSError []"]


def test_fork_does_not_wait_for_an_opening_that_waits_for_it() -> None:
    printed = run_forking(
        """
import os, threading
from encore_storage.processes import descriptors
from tests.forking import *
descriptors._FORK_SECONDS = 0.01
entered, has_forked = threading.Event(), threading.Event()
def wait():
    with descriptors.opening():
        entered.set()
        has_forked.wait()
thread = threading.Thread(target=wait)
thread.start()
entered.wait()
def work():
    with descriptors.opening() as own:
        return own(os.open("/", os.O_RDONLY)).is_open
print(forked(work))
has_forked.set()
thread.join()
print(work())
"""
    )

    assert printed == ["True", "True"]


def test_finalizer_in_an_opening_may_wait_for_a_thread_that_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "_FORK_SECONDS", 0.05)
    counting = threading.Lock()
    holds = threading.Event()

    def open_while_counting() -> None:
        with counting:
            holds.set()
            with descriptors.opening():
                pass

    with descriptors.opening():
        thread = threading.Thread(target=open_while_counting)
        thread.start()
        holds.wait()
        assert counting.acquire(timeout=20)  # as a finalizer does that a garbage collection calls here
        counting.release()
    thread.join()
