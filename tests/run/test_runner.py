"""`encore run` starts a program as it would run alone: streams, status, signals, job control."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forking import until
from tests.run.support import ENCORE, Shell, environment, run, started

COUNTING = r"""
import os, signal, sys
counts = {}
def count(number, frame):
    name = signal.Signals(number).name
    counts[name] = counts.get(name, 0) + 1
    os.write(1, f"got {name}\n".encode())
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGQUIT"):
    signal.signal(getattr(signal, name), count)
print("ready", os.getpid(), flush=True)
while "SIGUSR1" not in counts:
    signal.pause()
print(sorted(counts.items()), flush=True)
"""


def test_streams_are_passed_byte_for_byte() -> None:
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('E')"
    sent = bytes(range(256)) * 1000

    command = [str(ENCORE), "run", "--no-summary", "-c", program]
    result = subprocess.run(command, input=sent, env=environment(), capture_output=True, check=True)

    assert (result.stdout, result.stderr) == (sent, b"E")


@pytest.mark.parametrize(
    "program", ["print('own')", "import fsspec; fsspec.filesystem('memory').pipe('/a', b'1'); print('own')"]
)
def test_nothing_is_written_to_stdout_in_place_of_a_closed_stderr(program: str, tmp_path: Path) -> None:
    command = f"'{ENCORE}' run --record /proc/x --json {tmp_path}/json -c \"{program}\" 2>&-"

    result = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False)

    assert (result.stdout, result.returncode) == ("own\n", 0)
    assert (tmp_path / "json").is_file()


def test_arguments_and_directory_are_the_programs_own(tmp_path: Path) -> None:
    path = tmp_path / "with space.py"
    path.write_text("import os, sys; print(sys.argv, os.getcwd())")

    result = run(path.name, "--port", "-m", "a b", "", cwd=tmp_path)

    assert result.stdout == f"{[path.name, '--port', '-m', 'a b', '']} {tmp_path}\n"


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("-m", "platform", "--terse"), None),
        (("-c", "print(__name__)"), "__main__\n"),
        (("echo", "-n", "hello"), "hello"),
        (("--", "echo", "--"), "--\n"),
        (("--no-summary", "--", "-c", "print(1)"), "1\n"),
    ],
)
def test_modules_code_and_commands_run(arguments: tuple[str, ...], output: str | None) -> None:
    result = run(*arguments)

    assert result.returncode == 0, result.stderr
    assert result.stdout == output if output is not None else result.stdout


@pytest.mark.parametrize("status", [0, 1, 2, 77, 255])
def test_status_is_the_programs(status: int) -> None:
    assert run("-c", f"import os; os._exit({status})").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_status_of_a_signal_is_that_of_a_shell(number: signal.Signals) -> None:
    program = f"import os, signal\nif {number:d} != 9: signal.signal({number:d}, signal.SIG_DFL)\n"

    assert run("-c", f"{program}os.kill(os.getpid(), {number:d})").returncode == 128 + number


def test_command_that_does_not_exist_is_said() -> None:
    result = run("no-such-command")

    assert (result.returncode, result.stderr) == (
        127,
        "encore run: cannot run 'no-such-command': No such file or directory\n",
    )


def test_file_that_is_no_command_is_explained(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "job").chmod(0o755)

    assert "pass ./job" in run("job", cwd=tmp_path).stderr
    assert run("./job", cwd=tmp_path).stdout == "ran\n"


def test_file_without_permission_has_the_status_of_a_shell(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("#!/bin/sh\n")

    assert run("./job", cwd=tmp_path).returncode == 126


def test_script_without_first_line_is_run_by_a_shell(tmp_path: Path) -> None:
    (tmp_path / "job").write_text('echo "$1"\n')
    (tmp_path / "job").chmod(0o755)

    assert run("./job", "a b", cwd=tmp_path).stdout == "a b\n"
    assert run("job", "a b", cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).stdout == "a b\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_signal_to_the_runner_reaches_the_program_once(name: str) -> None:
    with started("--no-summary", "-c", COUNTING, start_new_session=True) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()

        os.killpg(runner.pid, getattr(signal, name))
        assert runner.stdout.readline() == f"got {name}\n"
        runner.send_signal(signal.SIGUSR1)

        assert runner.stdout.read() == f"got SIGUSR1\n{sorted([(name, 1), ('SIGUSR1', 1)])}\n"
    assert runner.returncode == 0


def test_ignored_signals_stay_ignored_and_the_others_are_not() -> None:
    program = (
        "import signal; print(*(signal.getsignal(n).name for n in (signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)))"
    )
    command = f"trap '' HUP CHLD; exec '{ENCORE}' run --no-summary -c '{program}'"

    result = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False)

    assert (result.stdout, result.returncode) == ("SIG_IGN SIG_IGN SIG_DFL\n", 0), result.stderr


def test_writer_to_a_closed_pipe_is_ended_as_alone() -> None:
    command = f"'{ENCORE}' run --no-summary yes | head -n 1; echo ${{PIPESTATUS[0]}}"

    result = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False)

    assert (result.stdout, result.stderr) == (f"y\n{128 + signal.SIGPIPE}\n", "")


def test_killed_runner_leaves_the_program_and_the_next_one_its_directory(tmp_path: Path) -> None:
    with started("-c", COUNTING, env=environment(TMPDIR=str(tmp_path), XDG_RUNTIME_DIR="")) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline().split()[1])
        assert len(list(tmp_path.iterdir())) == 1

        runner.kill()
        runner.wait()
        run("-c", "", env={"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""})
        assert list(tmp_path.iterdir()) == []
        os.kill(pid, signal.SIGUSR1)

        assert runner.stdout.read() == "got SIGUSR1\n[('SIGUSR1', 1)]\n"


def test_directory_of_a_living_runner_stays(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""}
    with started("-c", "input()", env=environment(**variables)) as runner:
        until(lambda: list(tmp_path.iterdir()))
        kept = list(tmp_path.iterdir())

        run("-c", "", env=variables)
        assert list(tmp_path.iterdir()) == kept

        runner.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_reaches_the_program_once(tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNTING)
    with Shell(tmp_path) as shell:
        shell.type("$ENCORE run --no-summary count.py\n")
        pid = int(shell.expect(r"ready (\d+)").group(1))

        shell.type("\x03")
        shell.expect("got SIGINT")
        shell.type("\x1c")
        shell.expect("got SIGQUIT")
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.type(f"kill -USR1 {pid}; fg >/dev/null; echo STATUS=$?\n")

        shell.expect(r"\[\('SIGINT', 1\), \('SIGQUIT', 1\), \('SIGUSR1', 1\)\]")
        shell.expect("STATUS=0")


def test_stopped_program_is_a_stopped_job_and_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(
        "print('ready', flush=True)\nwhile (line := input()): print('got', line, flush=True)\n"
    )
    with Shell(tmp_path) as shell:
        shell.type("$ENCORE run --no-summary echo.py; echo STATUS=$?\n")
        shell.expect("ready")
        shell.type("one\n")
        shell.expect("got one")

        shell.type("\x1a")
        shell.expect("Stopped")
        shell.expect(f"STATUS={128 + signal.SIGTSTP}")
        shell.type("jobs; bg; echo BACK=$((1 + 1))\n")
        shell.expect("BACK=2")
        shell.type("until jobs -s | grep -q .; do sleep 0.05; done; echo AGAIN=$((1 + 1))\n")
        shell.expect("AGAIN=2")  # it reads from the terminal, as it would alone
        shell.type("fg\n")
        shell.type("two\n")
        shell.expect("got two")
        shell.type("\n")
        shell.type("echo END=$((1 + 2))\n")
        shell.expect("END=3")


def test_pipeline_at_a_terminal_keeps_its_keys(tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        shell.type("$ENCORE run --no-summary sh -c 'echo ready; exec sleep 60' | cat\n")
        shell.expect("ready")

        shell.type("\x03")
        shell.type("echo ENDS=${PIPESTATUS[*]}\n")

        shell.expect(f"ENDS={128 + signal.SIGINT} {128 + signal.SIGINT}")


def test_pager_in_a_pipeline_reads_from_the_terminal(tmp_path: Path) -> None:
    reader = f"{sys.executable} -c 'import sys; sys.stdin.read(); print(open(\"/dev/tty\").readline().upper())'"
    with Shell(tmp_path) as shell:
        shell.type(f"$ENCORE run --no-summary echo hello | {reader}; echo END=$((1 + 1))\n")
        shell.type("typed\n")

        shell.expect("TYPED")
        shell.expect("END=2")


def test_ctrl_c_ends_the_script_around_the_program(tmp_path: Path) -> None:
    (tmp_path / "script").write_text('"$ENCORE" run --no-summary sh -c "echo ready; exec sleep 60"\necho AFTER\n')
    with Shell(tmp_path) as shell:
        shell.type("bash script\n")
        shell.expect("ready")

        shell.type("\x03")
        shell.type("echo STATUS=$?\n")

        assert "AFTER" not in shell.expect(f"[^=]*STATUS={128 + signal.SIGINT}").group()


@pytest.mark.parametrize("options", [(), ("--port", "0")])
def test_standard_error_that_cannot_be_written_changes_nothing(options: tuple[str, ...], tmp_path: Path) -> None:
    program = "import fsspec; fsspec.filesystem('memory').ls('/'); print('ran')"
    command = [str(ENCORE), "run", *options, "--json", "summary.json", "-c", program]

    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )

    assert (result.stdout, result.returncode) == ("ran\n", 0)
    assert (tmp_path / "summary.json").exists()


def test_program_that_is_stopped_without_a_terminal_stops_nobody_else() -> None:
    program = """
import os, signal, time
parent = os.getpid()
if os.fork() == 0:
    while "T (stopped)" not in open(f"/proc/{parent}/status").read():
        time.sleep(0.01)
    os.kill(parent, signal.SIGCONT)
    os._exit(0)
os.kill(parent, signal.SIGSTOP)
print("went on")
"""

    with started("--no-summary", "-c", program, start_new_session=True) as runner:
        assert runner.communicate(timeout=20)[0] == "went on\n"


def test_run_in_a_run_has_its_own_page_and_summary(tmp_path: Path) -> None:
    inner = (
        "import fsspec, subprocess; fsspec.filesystem('memory').ls('/')\n"
        f"subprocess.run([{str(ENCORE)!r}, 'run', '-c', 'print(1)'])"
    )

    result = run("--port", "0", "--json", "outer.json", "-c", inner, cwd=tmp_path)

    assert (result.stdout, result.returncode) == ("1\n", 0), result.stderr
    assert '"count": 1,' in (tmp_path / "outer.json").read_text()


def test_directory_that_is_gone_is_said() -> None:
    program = "import os, shutil; shutil.rmtree(os.environ['ENCORE_RUN_DIRECTORY'])"

    assert "encore run: no summary: [Errno 2] No such file or directory" in run("-c", program).stderr


def test_variables_of_other_programs_are_as_alone() -> None:
    own = environment()
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        own.pop(name, None)
    command = [str(ENCORE), "run", "--no-summary", "sh", "-c", "echo [$LC_CTYPE]"]

    result = subprocess.run(command, env=own, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"
