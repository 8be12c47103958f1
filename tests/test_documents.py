"""Every example in the README and the docs runs."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.subscribers.catalogue import CATALOGUE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in the language."""
    return [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def programs() -> list[object]:
    """Return the Python programs of all pages as test parameters."""
    return [
        pytest.param(code, id=f"{page.name}-{number}")
        for page in PAGES
        for number, code in enumerate(blocks(page, "python"), start=1)
    ]


def commands() -> list[str]:
    """Return the `encore copy` and `encore dashboards` commands of the README."""
    lines = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith(("$ encore copy", "$ encore dashboards"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_interactive_examples_print_what_the_page_shows(page: Path) -> None:
    results = doctest.testfile(str(page), module_relative=False)

    assert results.failed == 0


@pytest.mark.parametrize("program", programs())
def test_program_on_page_runs(program: str, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    program = program.replace("port=9464", "port=0")  # tests run in parallel and cannot share a port

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_readme_commands_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "photos" / "2026").mkdir(parents=True)
    (tmp_path / "photos" / "2026" / "sea.jpg").write_bytes(os.urandom(100_000))
    lines = commands()

    for line in lines:
        words = [str(Path(sys.executable).with_name("encore")), *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    assert len(lines) == 4
    assert (tmp_path / "monitoring" / "grafana" / "encore-overview.json").is_file()
    restored = tmp_path / "restored" / "2026" / "sea.jpg"
    assert restored.read_bytes() == (tmp_path / "photos" / "2026" / "sea.jpg").read_bytes()


def metrics_table() -> str:
    """Return the metric catalogue as the Markdown table of the docs."""
    rows = ["| metric | type | labels | description |", "|---|---|---|---|"]
    rows += [f"| {one.name} | {one.type} | {', '.join(one.labels)} | {one.help} |" for one in CATALOGUE]
    return "\n".join(rows)


def test_docs_contain_the_metrics_table() -> None:
    page = (ROOT / "docs" / "logs-and-metrics.md").read_text(encoding="utf-8")

    assert metrics_table() in page, f"put this table into docs/logs-and-metrics.md:\n{metrics_table()}"


def test_nothing_is_installed_from_a_published_package() -> None:
    folders = ("docs", "dashboards", "encore_events", "encore_run", "encore_storage", "examples")
    files = [ROOT / "README.md", *(path for folder in folders for path in (ROOT / folder).rglob("*.*"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in {".md", ".py", ".yaml", ".yml"}}

    assert [path for path, text in texts.items() if re.search(r"install[^\n]*encore-observability", text)] == []
    assert "$ pip install '.[all]'" in texts[ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_page_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
