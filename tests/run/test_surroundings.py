"""Programs that change what Encore might rely on: descriptors, directories, users, limits, logging, clocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.run.programs import Program, expected

INSIDE = {
    "another directory": "os.chdir('/')\nwork(3)",
    "a directory that is gone": "os.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\nwork(3)",
    "closed descriptors": "os.closerange(3, 1024)\nwork(3)",
    "closed descriptors in between": (
        "work(1)\nos.closerange(3, 1024)\nopened = [open('/dev/null', 'w') for _ in range(20)]\nwork(2)"
    ),
    "all descriptors closed": "work(1)\nsys.stdout.flush()\nos.closerange(0, 1024)\nwork(2)\nos._exit(0)",
    "few descriptors": (
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\nwork(1)\n"
        "opened = [os.open('/dev/null', 0) for _ in range(16 - len(os.listdir('/dev/fd')) + 1)]\nwork(2)"
    ),
    "cleared variables": "os.environ.clear()\nwork(3)",
    "another stderr": "import io\nsys.stderr = io.StringIO()\nwork(3)\nassert sys.stderr.getvalue() == ''",
    "no stderr": "sys.stderr = None\nwork(3)",
    "warnings that are errors": "import warnings\nwarnings.simplefilter('error')\nwork(3)",
    "threads": (
        "import threading\nthreads = [threading.Thread(target=work, args=(1,)) for _ in range(3)]\n"
        "for thread in threads: thread.start()\nfor thread in threads: thread.join()"
    ),
    "tasks": (
        "import asyncio\nasync def main():\n"
        "    await asyncio.gather(*(asyncio.to_thread(work, 1) for _ in range(3)))\nasyncio.run(main(), debug=True)"
    ),
    "a time that is not the real one": "import time\ntime.time = lambda: 0\nwork(3)",
    "a small stack and a low recursion limit": "sys.setrecursionlimit(60)\nwork(3)",
    "a trace function": "sys.settrace(lambda *_: None)\nwork(3)",
    "signals that are blocked": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwork(3)"
    ),
}


@pytest.mark.parametrize("source", INSIDE.values(), ids=INSIDE)
def test_program_does_as_alone_and_is_counted(source: str, tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": f"import os, sys\nfrom work import work\n{source}\n"})

    result = program.run("program.py")

    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")
    assert program.counted == expected(3)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change its user")
def test_program_that_changes_its_user_is_counted(tmp_path: Path) -> None:
    source = "import os\nfrom work import work\nwork(1)\nos.setgid(65534)\nos.setuid(65534)\nwork(2)\n"
    program = Program(tmp_path, {"program.py": source})

    result = program.run("program.py")

    assert (result.returncode, result.stderr) == (0, "")
    assert program.counted == expected(3)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change its user")
def test_program_of_another_user_runs_and_is_said_to_be_missing(tmp_path: Path) -> None:
    source = (
        "import os, fsspec\nfrom work import work\nfsspec.filesystem('memory')  # imports it\n"
        "os.setuid(65534)\nwork(3)\n"
    )
    program = Program(tmp_path, {"program.py": source})

    result = program.run("program.py")

    assert (result.returncode, result.stdout) == (0, "")
    assert "operations of this process are missing in the summary: " in result.stderr
    assert program.counted == expected(0, processes=0)


LOGGING = """
import logging, logging.config, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from work import work
work(1)
logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": True,
    "root": {"level": "DEBUG", "handlers": ["out"]},
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": sys.stdout}},
})
work(2)
"""


def test_program_that_configures_logging_logs_as_alone(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": LOGGING})

    result, alone = program.run("program.py"), program.alone("program.py")

    assert (result.returncode, result.stderr, result.stdout) == (0, "", alone.stdout)
    assert "DEBUG:fsspec.memoryfs:" in result.stdout
    assert program.counted == expected(3)


def test_program_that_may_write_no_file_runs_and_is_said_to_be_missing(tmp_path: Path) -> None:
    source = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\nfrom work import work\nwork(3)\n"
    program = Program(tmp_path, {"program.py": source})

    result = program.run("program.py")

    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == (
        "the storage operations of this process are missing in the summary: [Errno 27] File too large\n"
    )
    assert program.counted == expected(0, processes=0)


def test_warnings_of_encore_are_no_errors_of_the_program(tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": "from work import work\nwork(3)\n"})

    result = program.run("program.py", options=(), env={"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"})

    assert result.returncode == 0
    assert result.stderr.startswith("6 storage operations took ")
    assert "Warning" not in result.stderr
    assert program.counted == expected(3)
