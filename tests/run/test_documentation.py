"""The README and docs/run.md say what `encore run` does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from encore_run.arguments import make_parser, split
from encore_run.options import OPTIONS, Option, Options
from encore_run.program import SITE
from tests.run.support import ENCORE, ROOT, environment
from tests.test_documents import PAGES, blocks

PAGE = ROOT / "docs" / "run.md"
FIGURE = re.compile(r"(?<!\S)\d[\d.]* (?:ns|µs|ms|s|B|kB|MB)\b")
PROMPT = "$ "
JOB = "import fsspec, sys\nfsspec.filesystem('memory').pipe_file('/x', b'12345')\nprint(*sys.argv[1:])\n"


def commands(page: Path) -> list[str]:
    """Return the commands of a page that begin with `encore run`."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix(PROMPT) for line in lines if line.startswith(f"{PROMPT}encore run")]


def shown(lines: list[str]) -> list[str]:
    """Return lines of a summary with figures replaced, as the same rows in any order."""
    return sorted(" ".join(FIGURE.sub("FIGURE", line).split()) for line in lines if line)


def test_readme_shows_the_summary_that_is_printed() -> None:
    block = next(block for block in blocks(ROOT / "README.md", "console") if block.startswith(f"{PROMPT}encore run"))
    command, *lines = block.splitlines()
    words = [str(ENCORE), *shlex.split(command.removeprefix(PROMPT))[1:]]

    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)

    printed, slowest = done.stderr.split("\nslowest operations\n")
    assert shown(lines) == shown(printed.splitlines())
    assert len(slowest.splitlines()) == 5


@pytest.mark.parametrize("command", [command for page in PAGES for command in commands(page)])
def test_options_of_each_command_exist(command: str) -> None:
    options, program = split(shlex.split(command)[2:])

    given = make_parser().parse_args(options)

    assert program or given.environment


def test_first_commands_run(tmp_path: Path) -> None:
    (tmp_path / "etl.py").write_text(JOB)
    (tmp_path / "nightly.sh").write_text(f"#!/bin/sh\n'{sys.executable}' etl.py one\n'{sys.executable}' etl.py two\n")
    (tmp_path / "nightly.sh").chmod(0o755)
    lines = blocks(PAGE, "console")[0].splitlines()
    variables = environment(PATH=f"{ENCORE.parent}:{os.environ['PATH']}")

    results = [
        subprocess.run(
            shlex.split(line.removeprefix(PROMPT)),
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        for line in lines
    ]

    assert [result.stdout for result in results] == ["--month 2026-09\n", "\n", "[]\n", "one\ntwo\n"]
    assert ["in 1 process;" in result.stderr for result in results] == [True, True, True, False]
    assert "2 storage operations" in results[-1].stderr
    assert (tmp_path / "summary.json").is_file()


def row(option: Option) -> str:
    """Return the row of an option in the table of the docs."""
    words = [word for word in (option.flag, option.metavar) if word is not None]
    flag = f"`{' '.join(words)}`" if words else "-"
    return f"| {flag} | `{option.variable}` | {option.help} |"


def test_docs_contain_the_table_of_options() -> None:
    table = "\n".join(["| option | variable | meaning |", "|---|---|---|", *map(row, OPTIONS)])

    assert table in PAGE.read_text(encoding="utf-8"), f"put this table into docs/run.md:\n{table}"


def test_variables_of_the_compose_file_are_options() -> None:
    (text,) = blocks(PAGE, "yaml")
    document: Any = yaml.safe_load(text)
    variables = document["services"]["shop"]["environment"] | {"ENCORE_TOKEN": "s" * 16}

    options = Options.of(variables)

    assert set(variables) <= {option.variable for option in OPTIONS}
    assert (options.host, options.port, options.allowed_hosts, options.log_slow) == ("0.0.0.0", 9464, ("*",), 0.5)


def test_path_of_the_dockerfile_is_that_of_an_installation() -> None:
    (text,) = blocks(PAGE, "dockerfile")

    (path,) = re.findall(r"^ENV PYTHONPATH=\S+/site-packages/(\S+)$", text, re.MULTILINE)

    assert Path(SITE) == ROOT / path


def test_program_in_a_container_needs_no_command(tmp_path: Path) -> None:
    (tmp_path / "etl.py").write_text(JOB)
    command = [str(ENCORE), "run", "--environment", "--log-file", "log"]
    made = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    variables = dict(line.split("=", 1) for line in made.stdout.splitlines())
    variables["PYTHONPATH"] += f"{os.pathsep}{ROOT}"  # as installed

    done = subprocess.run(
        [sys.executable, "etl.py"],
        cwd=tmp_path,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("\n", "")
    assert (tmp_path / "log").read_text().count("store.operation.ended") == 1
