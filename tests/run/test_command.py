"""The command that prints the report, and the report as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.run.counting import RunSummary
from encore_storage.run.document import document
from encore_storage.run.report import read_report
from tests.forking import ROOT
from tests.subscribers.support import end

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run-summary.json").read_text(encoding="utf-8"))


@pytest.fixture
def directory(tmp_path: Path, summary: RunSummary, store: DictMemoryStore, manager: EventManager) -> Path:
    """A directory with the counts of this process."""
    store.from_bytes("a\udc80", b"12345")
    store.to_bytes("a\udc80")
    with pytest.raises(KeyError):
        store.to_bytes("missing")
    with store.transaction("import"):
        store.from_bytes("b", b"1")
    for notes in ("import", None):
        with pytest.raises(OSError, match="full"), store.transaction(notes):
            raise OSError("full")
    manager.emit(end(outcome="error", error=OSError("full"), error_type="full"))
    manager.emit(end(outcome="cancelled", key=None, operation=None))
    return tmp_path


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-W", "error", "-m", "encore_storage.run", *map(str, arguments)]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    """Return all properties in a schema, with their schemas."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for each in schema.values():
            yield from properties(each)


def strict(schema: Any, name: str = "") -> Any:
    """Return the schema without the permission of properties that it does not describe."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value, key) for key, value in schema.items()}
    # An error is an entry that has more properties.
    return made | {"unevaluatedProperties": False} if "required" in made and name != "entry" else made


def test_text_goes_to_stderr(directory: Path) -> None:
    done = command(directory, "--seconds", "1.5")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("6 storage operations took ")
    assert "in 1 process; the program ran 1.5 s\n" in done.stderr
    assert done.stderr.endswith("\n1 process still runs; what it does later is not counted here\n")
    assert "\x1b" not in done.stderr


def test_colors_are_an_option(directory: Path) -> None:
    assert command(directory, "--color").stderr.startswith("\x1b[1m6 storage operations")


def test_json_replaces_the_file(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("x" * 100_000)

    done = command(directory, "--json", path, "--no-text", "--seconds", "2")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = json.loads(path.read_bytes())
    Draft202012Validator(SCHEMA).validate(found)
    assert (found["version"], found["seconds"], found["count"], found["running"]) == (1, 2, 6, 1)
    assert not list(tmp_path.glob(".*"))


def test_json_follows_a_link(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("target.json")

    assert command(directory, "--json", tmp_path / "link.json", "--no-text").returncode == 0

    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "target.json").read_bytes())["count"] == 6


def test_json_goes_to_a_device(directory: Path) -> None:
    done = command(directory, "--json", "/dev/stdout", "--no-text")

    assert json.loads(done.stdout)["count"] == 6


def test_json_is_added_to_the_file_of_stdout(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("w") as output:
        output.write("of the program\n")
        output.flush()
        program = [sys.executable, "-m", "encore_storage.run", str(directory), "--json", "/dev/stdout", "--no-text"]
        subprocess.run(program, cwd=ROOT, stdout=output, check=True)

    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    assert first == "of the program"
    assert json.loads(rest)["count"] == 6


@pytest.mark.parametrize("path", ["/nonexistent/summary.json", "/proc/summary.json", "/"])
def test_path_that_cannot_be_written_is_an_error(directory: Path, path: str) -> None:
    done = command(directory, "--json", path, "--no-text")

    assert done.returncode == 1
    assert done.stderr.startswith(f"encore run: cannot write the summary to {path!r}: ")
    assert done.stderr.endswith("; choose another path\n")
    assert done.stderr.count("\n") == 1


def test_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    done = command(tmp_path / "gone")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot read the summary in {str(tmp_path / 'gone')!r}: it is no directory\n"


def test_empty_directory_has_no_operations(tmp_path: Path) -> None:
    done = command(tmp_path, "--json", tmp_path / "summary.json")

    assert done.stderr.startswith("no storage operations: ")
    Draft202012Validator(SCHEMA).validate(json.loads((tmp_path / "summary.json").read_bytes()))


def test_unreadable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "1-0123456789abcdef.cells").write_bytes(bytes(65536))

    assert command(tmp_path).stderr.splitlines()[2:] == [
        "1 file of processes cannot be read; what these did is missing here"
    ]


def test_document_follows_the_schema(directory: Path) -> None:
    made = document(read_report(directory))

    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(strict(SCHEMA)).validate(made)
    (archive,) = made["stores"]
    assert archive["rollbacks"] == [{"place": "import", "count": 1}, {"place": None, "count": 1}]
    assert archive["transactions"]["committed"] == 1
    assert {row["operation"]: row["count"] for row in archive["operations"]} == {"get": 3, "set": 2, "other": 1}
    assert made["seconds"] is None
    assert made["errors"][0]["message"] == "full"


def test_example_in_the_docs_follows_the_schema() -> None:
    page = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")

    Draft202012Validator(SCHEMA).validate(json.loads(page.partition("```json\n")[2].partition("```")[0]))


def test_every_property_has_a_description() -> None:
    found = list(properties(SCHEMA))

    assert len(found) > 30
    assert [name for name, schema in found if not schema.get("description")] == []


def test_report_imports_little() -> None:
    program = """
import sys
import encore_storage.run.__main__
print(sorted({name.partition(".")[0] for name in sys.modules} - {*sys.stdlib_module_names, '__main__'}))
print({"asyncio", "encore_storage.stores", "encore_storage.subscribers"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "['encore_events', 'encore_storage']\nset()\n"
