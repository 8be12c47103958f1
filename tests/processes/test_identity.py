"""The identity of the program, the same in all of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.processes.identity import VARIABLE, is_name, key_of, program_identity

PRINT = "from encore_storage.processes.identity import program_identity\nprint(program_identity())\n"


def identity(*arguments: str, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | variables
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(PRINT)
    return tmp_path


def test_same_program_has_the_same_identity(program: Path) -> None:
    relative, absolute = (identity(path, cwd=program) for path in ("shop.py", str(program / "shop.py")))

    assert relative == absolute
    assert relative.startswith("shop.py-")


def test_other_program_or_directory_has_another(program: Path) -> None:
    (program / "other").mkdir()
    (program / "other.py").write_text(PRINT)
    names = {
        identity("shop.py", cwd=program),
        identity("other.py", cwd=program),
        identity("../shop.py", cwd=program / "other"),
        identity("-m", "shop", cwd=program),
        identity("-c", PRINT, cwd=program),
    }

    assert len(names) == 5


NAME = "from encore_storage.processes.info import describe_process\nprint(describe_process().name)\n"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("-m", "package"), "package"),
        (("-m", "package.worker"), "package.worker"),
        (("package/worker.py", "-m"), "worker.py"),
        (("package",), "package"),
        (("-c", PRINT + NAME), "python"),
    ],
    ids=lambda given: given if isinstance(given, str) else given[0],
)
def test_program_and_process_have_the_name_of_what_was_started(
    program: Path, arguments: tuple[str, ...], name: str
) -> None:
    (program / "package").mkdir()
    for module in ("__main__", "worker"):
        (program / "package" / f"{module}.py").write_text(PRINT + NAME)

    group, process = identity(*arguments, cwd=program).splitlines()

    assert (group.rpartition("-")[0], process) == (name, name)


def test_programs_in_two_directories_are_two(program: Path) -> None:
    for directory in ("one", "other"):
        (program / directory).mkdir()
        (program / directory / "__main__.py").write_text(PRINT)

    assert identity("one", cwd=program) != identity("other", cwd=program)


def test_directory_is_that_of_the_start(program: Path) -> None:
    moved = "import os, encore_storage.processes.identity\nos.chdir('/')\n"
    (program / "shop.py").write_text(moved + PRINT)
    before = identity("shop.py", cwd=program)
    (program / "shop.py").write_text(PRINT)

    assert identity("shop.py", cwd=program) == before


def test_children_get_the_identity_of_their_parent(program: Path) -> None:
    (program / "parent.py").write_text(f"import subprocess, sys\n{PRINT}\nsubprocess.run([sys.executable, 'shop.py'])")

    parent, _, child = identity("parent.py", cwd=program).partition("\n")

    assert parent == child


def test_variable_names_the_program(program: Path) -> None:
    assert identity("shop.py", cwd=program, **{VARIABLE: "the shop"}) == "the shop"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb", r"'a\nb'"), ("x" * 101, repr("x" * 100 + "...")), ("\udcff", r"'\udcff'")],
    ids=["line", "long", "bytes"],
)
def test_unusable_variable_is_replaced_with_one_warning(
    name: str, shown: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, name)

    own = program_identity()

    assert is_name(own)
    assert os.environ[VARIABLE] == program_identity() == own
    assert caplog.messages == [f"{VARIABLE} is {shown}: set a name of 1 to 100 printable characters (now {own!r})"]


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(VARIABLE, "")

    assert is_name(program_identity())
    assert os.environ[VARIABLE] == program_identity()
    assert caplog.messages == []


def test_removed_directory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"import os, sys\nos.chdir('gone')\nos.rmdir('../gone')\n{PRINT}"

    assert is_name(identity("-c", script, cwd=tmp_path))


def test_key_is_a_file_name_of_any_text() -> None:
    assert key_of("a", 1) != key_of("a1")
    assert key_of("\ud800").isalnum()
