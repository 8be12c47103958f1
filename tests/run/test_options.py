"""The options of `encore run`, and messages for those that cannot be used."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import encore_run
from encore_run.libraries import LIBRARIES
from encore_run.options import ENTRY_POINTS, MIN_TOKEN_LENGTH, OPTIONS, OptionError, Options
from encore_storage.server.access import MIN_TOKEN_LENGTH as OF_THE_PAGE
from tests.run.support import run


def test_constants_are_those_of_encore() -> None:
    observe = importlib.import_module("encore_storage.clients.observe")  # a function has the same name

    assert tuple(observe._BUILT_IN) == LIBRARIES
    assert observe.ENTRY_POINTS == ENTRY_POINTS
    assert MIN_TOKEN_LENGTH == OF_THE_PAGE


def test_each_option_is_a_field_and_has_a_variable() -> None:
    assert {option.field for option in OPTIONS} == set(Options._fields)
    assert all(option.variable.startswith("ENCORE_") for option in OPTIONS)
    assert Options.of({}) == Options()


def test_variables_are_read(tmp_path: Path) -> None:
    options = Options.of(
        {
            "ENCORE_PORT": "9464",
            "ENCORE_HOST": "::",
            "ENCORE_TOKEN": "s" * 16,
            "ENCORE_ALLOWED_HOSTS": "app.example, metrics",
            "ENCORE_OBSERVE": "fsspec, sqlalchemy",
            "ENCORE_LOG_FILE": f"{tmp_path}/log",
            "ENCORE_LOG_SLOW": "0.5",
            "ENCORE_RECORD": "",
            "ENCORE_JSON": f"{tmp_path}/json",
            "ENCORE_NO_SUMMARY": "1",
        }
    )

    assert options == Options(
        port=9464,
        host="::",
        token="s" * 16,
        allowed_hosts=("app.example", "metrics"),
        observe=("fsspec", "sqlalchemy"),
        log_file=f"{tmp_path}/log",
        log_slow=0.5,
        json=f"{tmp_path}/json",
        summary=False,
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("--port", "x"), {}, "--port: 'x' is no port: pass a number from 0 to 65535; 0 takes a free one"),
        (("--port", "65536"), {}, "--port: '65536' is no port"),
        ((), {"ENCORE_PORT": "-1"}, "ENCORE_PORT: '-1' is no port"),
        (("--log-slow", "nan"), {}, "--log-slow: 'nan' is no number of seconds: pass one such as 0.5"),
        (("--log-file", "/no/such/x"), {}, "--log-file: there is no directory '/no/such': make it"),
        (("--record", "/tmp"), {}, "--record: '/tmp' is a directory: pass a file"),
        (("--observe", "redis"), {}, "--observe: 'redis' cannot be observed: pass some of aiobotocore, boto3, "),
        (("--host", "0.0.0.0"), {}, "--host: other machines can reach '0.0.0.0': set ENCORE_TOKEN"),
        ((), {"ENCORE_TOKEN": "short"}, "ENCORE_TOKEN: a token has at least 16"),
        (("--prot", "1"), {}, "unrecognized arguments: --prot"),
        (("--port",), {}, "argument --port: expected one argument"),
    ],
)
def test_unusable_option_is_explained_and_the_program_not_run(
    arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    result = run(*arguments, "-c", "print('ran')", env=variables)

    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize("name", ["new", "old"])
def test_file_that_may_not_be_written_is_refused(name: str) -> None:
    folder = Path(tempfile.mkdtemp())  # other users can't reach `tmp_path`
    (folder / "old").touch(mode=0o400)
    folder.chmod(0o555)

    def parse() -> None:
        if os.getuid() == 0:
            os.setuid(65534)  # root may write everywhere
        try:
            Options.of({"ENCORE_RECORD": str(folder / name)})
        except OptionError as error:
            os._exit(f"'{folder / name}' may not be written by this user: pass another file" in str(error))
        os._exit(2)

    child = multiprocessing.get_context("fork").Process(target=parse)
    child.start()
    child.join(20)
    shutil.rmtree(folder)
    assert child.exitcode == 1


def test_wrong_library_in_the_variables_is_reported_without_the_command() -> None:
    environment = os.environ | {"PYTHONPATH": f"{Path(encore_run.__file__).parent}/site", "ENCORE_OBSERVE": "fspec"}

    done = subprocess.run(
        [sys.executable, "-c", "print('ran')"], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "ran\n"
    assert "encore run: this process is not observed: OptionError: ENCORE_OBSERVE: 'fspec' cannot be" in done.stderr


@pytest.mark.parametrize("program", [(), ("-m",), ("-c",), ("--",), ("",)])
def test_missing_program_is_explained(program: tuple[str, ...]) -> None:
    result = run(*program)

    assert result.returncode == 2
    assert "no program was given: pass a .py file, -m and a module, -c and code, or a command" in result.stderr


def test_taken_port_is_an_error_before_the_program_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = run("--port", port, "-c", "print('ran')")

    assert (result.returncode, result.stdout) == (2, "")
    assert f"--port: 127.0.0.1:{port} cannot be used: Address already in use; pass another one" in result.stderr


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("localhost", "localhost")])
def test_address_of_the_page_can_be_opened(host: str, shown: str) -> None:
    result = run("--host", host, "--port", 0, "-c", "")

    assert result.stderr.startswith(f"encore run: page: http://{shown}:"), result.stderr


def test_help_names_each_option_and_variable() -> None:
    text = run("--help").stdout

    for option in OPTIONS:
        assert option.flag is None or (option.flag in text and option.variable in text)


def test_environment_is_printed_for_containers(tmp_path: Path) -> None:
    lines = run("--environment", "--port", "9464", "--log-file", "ops.log", cwd=tmp_path).stdout.splitlines()

    assert lines[:2] == ["ENCORE_PORT=9464", f"ENCORE_LOG_FILE={tmp_path}/ops.log"]
    assert lines[2].startswith("PYTHONPATH=")
    assert lines[2].endswith("/encore_run/site")
