"""Ends of programs: killed, failed, interrupted or without their exit functions. All that they did is counted."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.run.programs import SECONDS, Program, expected, variables

ENDS = {
    "os._exit": ("import os\nos._exit(7)", 7),
    "an exception": ("def fail():\n    raise ValueError('broken')\nfail()", 1),
    "an exception in a thread": (
        "import threading\nthread = threading.Thread(target=lambda: 1 / 0, name='one')\nthread.start()\nthread.join()",
        0,
    ),
    "an exit in a thread": (
        "import sys, threading\nthread = threading.Thread(target=sys.exit)\nthread.start()\nthread.join()\nwork(0)",
        0,
    ),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 128 + signal.SIGINT),
    "abort": ("import os\nos.abort()", 128 + signal.SIGABRT),
    "a thread that still works": ("import threading\nthreading.Thread(target=work, args=(0,)).start()", 0),
    "a daemon thread that waits": (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        0,
    ),
}


@pytest.mark.parametrize(("source", "status"), ENDS.values(), ids=ENDS)
def test_end_is_that_of_the_program_alone(source: str, status: int, tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": f"from work import work\nwork(3)\n{source}\n"})

    result, alone = program.run("program.py"), program.alone("program.py")

    assert (result.stdout, result.stderr) == (alone.stdout, alone.stderr)
    assert (result.returncode, alone.returncode) == (status, status if status < 128 else 128 - status)
    assert program.counted == expected(3)


INTERRUPTED = """
import signal, time
from work import work

work(3)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
while not signal.sigpending():
    time.sleep(0.001)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
"""


def test_traceback_of_an_interrupted_program_is_that_of_the_program_alone(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": INTERRUPTED})

    status, errors = _interrupted(program, program.command("program.py"))
    alone = _interrupted(program, ["python", "program.py"])

    assert (status, errors) == (128 + signal.SIGINT, alone[1])
    assert errors.endswith("\nKeyboardInterrupt\n")
    assert alone[0] == -signal.SIGINT
    assert program.counted == expected(3)


def _interrupted(program: Program, command: list[str]) -> tuple[int, str]:
    with subprocess.Popen(
        command,
        cwd=program.directory,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
        return process.returncode, errors


KILLED = """
import os, signal
from work import work
import fsspec

work(3)
files = fsspec.filesystem("memory")
with files.open("/key") as file:
    file.read(10)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_operations_that_ended_before_a_kill_are_counted(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": KILLED})

    assert program.run("program.py").returncode == 128 + signal.SIGKILL
    assert program.counted == expected(3)
