"""A program whose threads import and fork while Encore starts works as alone, and all its calls are observed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.run.support import run

# One thread stops at the start of a module, and goes on once another one waits in a function for what it holds.
STOP = """
import faulthandler, os, signal, sys, threading, time
from importlib.machinery import SourceFileLoader

faulthandler.dump_traceback_later(20, exit=True)

def innermost(thread):
    frame = sys._current_frames().get(thread.ident)
    return frame and frame.f_code.co_name

def stop_in(name, thread, function, reached):
    def execute(loader, module):
        if module.__name__ == name:
            SourceFileLoader.exec_module = plain
            reached.set()
            while innermost(thread) != function:
                time.sleep(0.001)
        return plain(loader, module)

    plain, SourceFileLoader.exec_module = SourceFileLoader.exec_module, execute
"""

HOLDING = """
def hold():
    import HELD

thread, reached = threading.Thread(target=hold), threading.Event()
stop_in("HELD", threading.main_thread(), "acquire", reached)
thread.start()
reached.wait()
import LIBRARY, fsspec
fsspec.filesystem("memory").pipe_file("/x", b"12345")
thread.join()
print("done")
"""


@pytest.mark.parametrize(
    ("held", "library"),
    [
        ("blinker", "fsspec"),
        ("structlog", "fsspec"),
        ("asyncio", "sqlalchemy"),
        ("logging", "boto3"),
        ("blinker", "encore_storage"),
    ],
)
def test_library_is_imported_while_another_thread_imports_what_encore_needs(held: str, library: str) -> None:
    result = run("--log-slow", 9, "-c", STOP + HOLDING.replace("HELD", held).replace("LIBRARY", library))

    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "not observed" not in result.stderr
    assert "5 B" in result.stderr


MEANWHILE = """
def query():
    reached.wait()
    import sqlalchemy
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))

thread, reached = threading.Thread(target=query), threading.Event()
stop_in("blinker", thread, "acquire", reached)
thread.start()
import fsspec
fsspec.filesystem("memory").pipe_file("/x", b"12345")
thread.join()
print("done")
"""


def test_first_calls_of_two_threads_with_two_libraries_are_counted() -> None:
    result = run("-c", STOP + MEANWHILE)

    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert result.stderr.startswith("3 storage operations took "), result.stderr


FORKING = """
def fork():
    reached.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        import asyncio, sqlalchemy
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
        os._exit(7)
    forked.set()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

thread, reached, forked = threading.Thread(target=fork), threading.Event(), threading.Event()
stop_in("STARTING", thread, "_wait_for_start", reached)
thread.start()
sys.path.insert(0, "FOLDER")
import boto3, fsspec
fsspec.filesystem("memory").pipe_file("/x", b"12345")
thread.join()
"""


@pytest.mark.parametrize(
    "starting", ["encore_events", "encore_events.forks", "encore_storage", "encore_storage.run.counting"]
)
def test_fork_waits_for_the_start_in_another_thread(tmp_path: Path, starting: str) -> None:
    # A fork amid other imports is not safe in any program.
    (tmp_path / "boto3.py").write_text("import __main__\n__main__.forked.wait()")

    result = run("-c", STOP + FORKING.replace("STARTING", starting).replace("FOLDER", str(tmp_path)))

    assert (result.returncode, result.stdout) == (0, "7\n"), result.stderr
    # Before it, Python may say that a hook of forks has failed, if its module was imported while the fork waited.
    assert re.search(r"^3 storage operations took .* in 2 processes", result.stderr, re.MULTILINE), result.stderr


def test_look_at_the_spec_of_a_library_starts_nothing() -> None:
    program = (
        "import importlib.util, sys\n"
        "print([importlib.util.find_spec(name).name for name in ('fsspec', 'sqlalchemy', 'encore_storage')])\n"
        "print(any(name.startswith('encore_storage') for name in sys.modules))"
    )

    assert run("-c", program).stdout == "['fsspec', 'sqlalchemy', 'encore_storage']\nFalse\n"
