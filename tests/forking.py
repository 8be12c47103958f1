"""Helpers for programs under test that fork: children that answer, locks held by another thread, signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = 20
"""The time after which a child is killed."""


def run_forking(program: str, *arguments: object) -> list[str]:
    """Run a program that forks, and return the lines that it prints.

    It runs without coverage, whose lock in every thread may be held at a fork.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    options = ["-W", "error", "-W", "ignore::ResourceWarning", "-X", "faulthandler"]
    command = [sys.executable, *options, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fork() -> int:
    """Fork with the hooks of `os.register_at_fork`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is intended
        return os.fork()


def fork_without_hooks() -> int:
    """Fork as C code does, without Python's hooks.

    The interpreter doesn't renew its own locks then, so all other threads must be idle.
    """
    time.sleep(0.05)
    return int(ctypes.PyDLL(None).fork())


FORKS: dict[str, Callable[[], int]] = {"with hooks": fork, "without hooks": fork_without_hooks}


def forked(work: Callable[[], object], fork: Callable[[], int] = fork) -> str:
    """Call `work` in a child; return its result or error as text, or the signal that ended the child."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.write(writing, outcome(work).encode())
        os._exit(0)
    return answer_of(child, reading, writing)


def answer_of(child: int, reading: int, writing: int) -> str:
    """Return what the child writes to the pipe, or the signal that ends it."""
    os.close(writing)
    answer = b"".join(iter(lambda: os.read(reading, 65536), b"")).decode()
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"ended by {status}" if status else answer


def outcome(work: Callable[[], object]) -> str:
    """Return the repr of the result of `work`, or the name of the exception's class."""
    try:
        return repr(work())
    except BaseException as error:
        return type(error).__name__


@contextlib.contextmanager
def held(lock: Any) -> Iterator[None]:
    """Make another thread hold the lock during the block."""
    holds, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            ends.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def forked_in_a_handler(work: Callable[[], object], is_waiting: Callable[[], object]) -> str:
    """Call `work`, fork in a signal handler once `is_waiting()`, and return the outcome of `work` in the child."""
    main, children = threading.main_thread(), list[int]()
    reading, writing = os.pipe()

    def handle(_number: int, _frame: object) -> None:
        children.append(fork())
        if children[-1] == 0:
            signal.alarm(SECONDS)
        else:
            raise KeyboardInterrupt  # ends the waiting in the parent

    def interrupt() -> None:
        until(is_waiting)
        signal.pthread_kill(main.ident or 0, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    answer = outcome(work)
    if children == [0]:
        os.write(writing, answer.encode())
        os._exit(0)
    thread.join()
    return answer_of(children[0], reading, writing)


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
