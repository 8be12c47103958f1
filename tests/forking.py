"""What programs under test fork with: a child that answers, locks that another thread holds meanwhile, signals."""

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
"""How long a child may take; one that hangs is killed."""


def run_forking(program: str, *arguments: object) -> list[str]:
    """Run a program that forks, and give the lines that it prints.

    There is no coverage of it, which takes a lock of its own in every thread: a fork would find that taken.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    options = ["-W", "error", "-W", "ignore::ResourceWarning", "-X", "faulthandler"]
    command = [sys.executable, *options, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fork() -> int:
    """Fork as programs do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads: what is tested
        return os.fork()


def fork_without_hooks() -> int:
    """Fork as a program in C does: no hook of Python runs.

    Nor does the interpreter renew its own locks then, so its other threads have to be at rest.
    """
    time.sleep(0.05)
    return int(ctypes.PyDLL(None).fork())


FORKS: dict[str, Callable[[], int]] = {"with hooks": fork, "without hooks": fork_without_hooks}


def forked(work: Callable[[], object], fork: Callable[[], int] = fork) -> str:
    """Do the work in a child; give what it returned or raised, as text, or the signal that ended it."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.write(writing, outcome(work).encode())
        os._exit(0)
    os.close(writing)
    answer = b"".join(iter(lambda: os.read(reading, 65536), b"")).decode()
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"ended by {status}" if status else answer


def outcome(work: Callable[[], object]) -> str:
    """What the work returned, or the class of what it raised."""
    try:
        return repr(work())
    except BaseException as error:
        return type(error).__name__


@contextlib.contextmanager
def held(lock: Any) -> Iterator[None]:
    """Have another thread hold the lock for the length of the block."""
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
    """Do the work, and fork in a signal handler once it waits; give how it went on in the child."""
    main, children = threading.main_thread(), list[int]()
    reading, writing = os.pipe()

    def handle(_number: int, _frame: object) -> None:
        children.append(fork())
        if children[-1] == 0:
            signal.alarm(SECONDS)
        else:
            raise KeyboardInterrupt  # the parent need not wait any longer

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
    os.close(writing)
    answer = b"".join(iter(lambda: os.read(reading, 65536), b"")).decode()
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
    return f"ended by {status}" if status else answer


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
