"""Where the command begins: the version, the help, and what it needs to be there."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.cli import main
from tests.cli.conftest import Encore
from tests.cli.support import COMMAND, LONG, command

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise MISSING

sys.meta_path.insert(0, Missing())
from encore_storage.cli import main
main()
"""


def run_without(package: str, error: str) -> subprocess.CompletedProcess[str]:
    """Run the command where importing the package raises the error."""
    program = WITHOUT.replace("MISSING", error)
    return subprocess.run([sys.executable, "-c", program, package], capture_output=True, text=True, check=False)


def test_the_version_is_that_of_the_distribution(encore: Encore) -> None:
    done = encore("--version")

    assert done == (0, f"encore {importlib.metadata.version('encore-observability')}\n", "")


def test_without_a_command_it_says_which_there_are(encore: Encore) -> None:
    done = encore()

    assert (done.status, done.err) == (0, "")
    assert "copy" in done.out
    assert "demo" in done.out


@pytest.mark.parametrize("name", ["copy", "demo"])
def test_each_command_has_help(encore: Encore, name: str) -> None:
    done = encore(name, "--help")

    assert (done.status, done.err) == (0, "")
    assert f"Usage: encore {name}" in done.out


def test_the_process_exits_with_the_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["encore", "copy", "s3://bucket", "memory:"])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("encore: 's3://bucket' is no store")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_what_is_missing_is_told_with_what_to_install(package: str) -> None:
    ran = run_without(package, "ModuleNotFoundError(name, name=name)")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"encore: {package} is missing: pip install 'encore-observability[cli]'\n"


def test_ctrl_c_while_it_is_being_loaded_is_no_traceback() -> None:
    ran = run_without("typer", "KeyboardInterrupt")

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_a_module_of_our_own_that_is_missing_is_no_matter_of_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "encore_storage.cli.app", None)

    with pytest.raises(ModuleNotFoundError, match=r"encore_storage\.cli\.app"):
        main()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_knows_few_characters_is_no_trouble(source: Path, encoding: str) -> None:
    done = command("copy", source, "memory:", env={"PYTHONIOENCODING": encoding}, encoding=encoding)

    assert (done.status, done.last_line, done.err) == (0, "4 of 4 keys have arrived", "")


def test_nobody_has_to_read_what_it_says(source: Path, tmp_path: Path) -> None:
    closing = ["sh", "-c", 'exec "$@" >&-', "sh", COMMAND, "copy", str(source), str(tmp_path / "target")]

    ran = subprocess.run(closing, capture_output=True, text=True, check=False, timeout=LONG)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "target" / "a.txt").exists()
