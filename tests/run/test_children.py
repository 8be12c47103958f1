"""Programs that start others: forked, spawned, by exec, in pools, as daemons. All are counted."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

from tests.run.programs import Program, expected

POOL = """
import multiprocessing, os, sys
from work import work

def task(number):
    work(1)
    return os.getpid()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    work(1)
    with context.Pool(2, maxtasksperchild=3) as pool:
        pids = set(pool.map(task, range(12), chunksize=1))
        pool.close()
        pool.join()
    print(len(pids))
"""

EXECUTOR = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from work import work

def task(number):
    work(2)
    time.sleep(0.01)
    return os.getpid()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(len(set(pool.map(task, range(10)))))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool_is_counted(method: str, tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": POOL})

    result = program.run("program.py", method)

    assert (result.returncode, result.stderr) == (0, "")
    assert program.counted == expected(13, processes=1 + int(result.stdout))
    assert int(result.stdout) >= 4


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_executor_is_counted(method: str, tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": EXECUTOR})

    result = program.run("program.py", method)

    assert (result.returncode, result.stderr) == (0, "")
    assert program.counted == expected(20, processes=int(result.stdout))


SMALL = "from work import work\nimport sys\nwork(int(sys.argv[1]))\n"
PROGRAMS = {
    "a fork before the first operation": (
        """
        from work import work
        import os
        if os.fork() == 0:
            work(2)
            os._exit(0)
        work(1)
        os.wait()
        """,
        2,
    ),
    "a fork after it, which works on": (
        """
        from work import work
        import os
        work(1)
        if os.fork() == 0:
            work(1)
        else:
            os.wait()
            work(1)
        """,
        2,
    ),
    "a fork before the import": (
        """
        import os
        child = os.fork()
        from work import work
        if child == 0:
            work(2)
        else:
            os.wait()
            work(1)
        """,
        2,
    ),
    "a fork of a fork": (
        """
        from work import work
        import os
        for _ in range(2):
            if os.fork() == 0:
                work(1)
            else:
                os.wait()
        """,
        3,
    ),
    "a thread that forks": (
        """
        from work import work
        import os, threading
        def fork():
            if os.fork() == 0:
                work(1)
                os._exit(0)
            os.wait()
        threads = [threading.Thread(target=fork) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        3,
    ),
    "a subprocess": (
        """
        from work import work
        import subprocess, sys
        work(1)
        subprocess.run([sys.executable, "small.py", "2"], check=True)
        """,
        2,
    ),
    "a subprocess with closed descriptors, elsewhere": (
        """
        from work import work
        import os, subprocess, sys
        work(1)
        path = os.path.abspath("small.py")
        os.chdir("/")
        subprocess.run([sys.executable, path, "2"], close_fds=True, start_new_session=True, check=True)
        """,
        2,
    ),
    "an exec": (
        """
        from work import work
        import os, sys
        work(1)
        os.execv(sys.executable, [sys.executable, "small.py", "2"])
        """,
        2,
    ),
    "an exec of a shell that starts Python": (
        """
        from work import work
        import os, sys
        work(1)
        os.execl("/bin/sh", "sh", "-c", "python small.py 1; exec python small.py 1")
        """,
        3,
    ),
    "posix_spawn": (
        """
        from work import work
        import os, sys
        work(1)
        os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "small.py", "2"], os.environ), 0)
        """,
        2,
    ),
}


@pytest.mark.parametrize(("source", "processes"), PROGRAMS.values(), ids=PROGRAMS)
def test_child_is_counted(source: str, processes: int, tmp_path: Path) -> None:
    program = Program(tmp_path, {"program.py": textwrap.dedent(source), "small.py": SMALL})

    result = program.run("program.py")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert program.counted == expected(3, processes)


DAEMON = """
import os, sys, time
from work import work

work(1)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0)
    os.closerange(0, 1024)
    os.open(os.devnull, os.O_RDWR)
    os.dup2(0, 1)
    os.dup2(0, 2)
    work(2)
    with open(sys.argv[1], "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(60)
os.wait()
while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]):
    time.sleep(0.01)
work(1)
"""


def test_daemon_is_counted_until_the_end_of_the_run_which_says_so(tmp_path: Path) -> None:
    program, path = Program(tmp_path, {"program.py": DAEMON}), tmp_path / "pid"
    try:
        result = program.run("program.py", str(path), options=())

        assert (result.returncode, result.stdout) == (0, "")
        assert result.stderr.endswith("\n1 process still runs; what it does later is not counted here\n")
        assert program.counted == expected(4, processes=2, running=1)
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)
