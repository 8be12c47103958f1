"""The entry point: version, help, missing packages and closed streams."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.cli import main
from tests.cli.conftest import Encore
from tests.cli.support import COMMAND, TIMEOUT, command

PROGRAM = """
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
    """Run the command with an import of the package that raises the error."""
    program = PROGRAM.replace("MISSING", error)
    return subprocess.run([sys.executable, "-c", program, package], capture_output=True, text=True, check=False)


def test_version_is_that_of_the_distribution(encore: Encore) -> None:
    result = encore("--version")

    assert result == (0, f"encore {importlib.metadata.version('encore-observability')}\n", "")


def test_no_command_prints_help(encore: Encore) -> None:
    result = encore()

    assert (result.status, result.err) == (0, "")
    assert "copy" in result.out
    assert "demo" in result.out


@pytest.mark.parametrize("name", ["copy", "demo"])
def test_command_has_help(encore: Encore, name: str) -> None:
    result = encore(name, "--help")

    assert (result.status, result.err) == (0, "")
    assert f"Usage: encore {name}" in result.out


def test_process_exits_with_the_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["encore", "copy", "s3://bucket", "memory:"])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("encore: 's3://bucket' is not a store")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_missing_package_is_named(package: str) -> None:
    ran = run_without(package, "ModuleNotFoundError(name, name=name)")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"encore: {package} is missing: run pip install '.[cli]' in a clone of Encore\n"


def test_ctrl_c_during_import_prints_nothing() -> None:
    ran = run_without("typer", "KeyboardInterrupt")

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_missing_own_module_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "encore_storage.cli.app", None)

    with pytest.raises(ModuleNotFoundError, match=r"encore_storage\.cli\.app"):
        main()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_limited_output_encoding_succeeds(source: Path, encoding: str) -> None:
    result = command("copy", source, "memory:", env={"PYTHONIOENCODING": encoding}, encoding=encoding)

    assert (result.status, result.last_line, result.err) == (0, "4 of 4 keys copied", "")


def test_closed_standard_output_succeeds(source: Path, tmp_path: Path) -> None:
    closing = ["sh", "-c", 'exec "$@" >&-', "sh", COMMAND, "copy", str(source), str(tmp_path / "target")]

    ran = subprocess.run(closing, capture_output=True, text=True, check=False, timeout=TIMEOUT)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "target" / "a.txt").exists()
