"""Ways to start a program: each is counted exactly, and its output is that of the program alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.programs import Program, expected

SCRIPT = "from work import work\nif __name__ in ('__main__', 'program'):\n    work(3)\n    print('done')\n"
FILES = {
    "program.py": SCRIPT,
    "script": f"#!{{python}}\n{SCRIPT}",
    "by_env": f"#!/usr/bin/env python\n{SCRIPT}",
    "by_shell": '#!/bin/sh\nexport MODE=test\nexec python program.py "$@"\n',
    "test_program.py": "from work import work\n\ndef test_one():\n    work(1)\n\ndef test_two():\n    work(2)\n",
}
STARTS = {
    "a file": ("program.py",),
    "a module": ("-m", "program"),
    "code": ("-c", "import program"),
    "an interpreter": ("python", "program.py"),
    "an interpreter without docstrings": ("python", "-OO", "program.py"),
    "an interpreter whose warnings are errors": ("python", "-W", "error", "program.py"),
    "an interpreter for developers": ("python", "-X", "dev", "-W", "error", "program.py"),
    "a script": ("./script",),
    "a script by env": ("./by_env",),
    "a script of the shell": ("./by_shell",),
    "env": ("env", "MODE=test", "python", "program.py"),
    "a pipe to the interpreter": ("sh", "-c", "cat program.py | python -"),
    "an entry point": ("coverage", "run", "--data-file=coverage.data", "program.py"),
}


@pytest.mark.parametrize("words", STARTS.values(), ids=STARTS)
def test_program_is_counted(words: tuple[str, ...], tmp_path: Path) -> None:
    program = Program(tmp_path, FILES)

    result = program.run(*words)

    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)
    assert program.counted == expected(3)


def test_commands_of_a_shell_are_counted_together(tmp_path: Path) -> None:
    program = Program(tmp_path, FILES)

    result = program.run("bash", "-c", "python program.py; ./script | cat; (cd /; python $OLDPWD/program.py) & wait")

    assert (result.stdout, result.stderr) == ("done\n" * 3, "")
    assert program.counted == expected(9, processes=3)
