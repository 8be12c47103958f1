"""Encore starts in the program's processes when they need it, and nothing else changes there."""

from __future__ import annotations

import ast
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from encore_run.libraries import LIBRARIES
from encore_run.program import SITE
from tests.run.support import environment, run

SEEN = "import sys; print(any(name.startswith('encore_storage') for name in sys.modules))"


def test_program_that_needs_no_encore_imports_none_of_it() -> None:
    result = run("-c", f"import json, sqlite3, http.client; {SEEN}")

    assert result.stdout == "False\n"
    assert result.stderr == "encore run: no storage operations: no process used a library that can be observed\n"


def test_program_sees_its_own_path_and_site() -> None:
    program = "import sys; print(sys.path, sorted(sys.meta_path, key=repr)[1:], sys.argv, __name__)"
    alone = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )

    shown = run("-c", program).stdout

    assert SITE not in shown
    assert shown.split("]")[0] == alone.stdout.split("]")[0]


@pytest.mark.parametrize("library", [*LIBRARIES, "encore_storage", "encore_storage.stores", "s3fs"])
def test_each_library_starts_encore(library: str) -> None:
    program = (
        f"import {library}, sys\nimport fsspec\nfsspec.filesystem('memory').pipe_file('/x', b'12345')\n"
        "print(type(fsspec.filesystem('memory')).__name__)"
    )

    result = run("-c", program)

    assert result.stdout == "MemoryFileSystem\n", result.stderr
    assert "memory" in result.stderr
    assert "5 B" in result.stderr


def test_library_that_is_missing_starts_nothing(tmp_path: Path) -> None:
    program = "try:\n    import boto3\nexcept ModuleNotFoundError as error:\n    print(error)\n" + SEEN
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Hidden:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'boto3':\n            raise ModuleNotFoundError('hidden')\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )

    assert run("-c", program, env={"PYTHONPATH": str(tmp_path)}).stdout == "hidden\nFalse\n"


def test_chosen_libraries_are_observed_alone() -> None:
    program = "import fsspec, sqlalchemy\nfsspec.filesystem('memory').pipe_file('/x', b'1')\n" + SEEN

    result = run("--observe", "sqlalchemy", "-c", program)

    assert result.stdout == "True\n"
    assert "no storage operations" in result.stderr


MEANWHILE = """
import sys, threading
from importlib.machinery import SourceFileLoader

def import_meanwhile():
    starts.wait(20)
    import sqlalchemy

def create(loader, spec):
    load("create", spec.name)
    return plain_create(loader, spec)

def execute(loader, module):
    load("execute", module.__name__)
    return plain_execute(loader, module)

def load(step, name):
    if (step, name) == ("execute", "blinker"):  # Encore is starting
        starts.set()
        assert imports.wait(20)
    if (step, name) == ("STEP", "sqlalchemy"):
        imports.set()
        assert started.wait(20)

starts, imports, started = (threading.Event() for _ in range(3))
thread = threading.Thread(target=import_meanwhile)
plain_create, plain_execute = SourceFileLoader.create_module, SourceFileLoader.exec_module
SourceFileLoader.create_module, SourceFileLoader.exec_module = create, execute
thread.start()
import encore_storage
started.set()
thread.join()
import fsspec, sqlalchemy
fsspec.filesystem("memory").pipe_file("/x", b"12345")
sqlalchemy.create_engine("sqlite://").connect().execute(sqlalchemy.text("SELECT 1"))
print(type(sqlalchemy.__loader__).__name__, sqlalchemy.__spec__.loader is sqlalchemy.__loader__)
"""


@pytest.mark.parametrize("step", ["create", "execute"])
def test_library_that_another_thread_imports_while_encore_starts_is_observed(step: str) -> None:
    result = run("-c", MEANWHILE.replace("STEP", step))

    assert (result.returncode, result.stdout) == (0, "SourceFileLoader True\n"), result.stderr
    assert "not observed" not in result.stderr
    assert all(name in result.stderr for name in ("memory", "5 B", "sqlite:memory", "query"))


def test_managers_of_the_program_are_seen() -> None:
    program = """
from encore_events import EventManager, get_event_manager, set_event_manager
early = EventManager()
from encore_storage import DictMemoryStore
late = EventManager()
set_event_manager(late)
for name, manager in (("early", early), ("late", late), ("default", None)):
    DictMemoryStore(name=name, event_manager=manager).from_bytes("k", b"1")
print(get_event_manager() is late)
"""
    result = run("-c", program)

    assert result.stdout == "True\n", result.stderr
    assert all(name in result.stderr for name in ("early", "late", "default"))


def test_event_that_a_program_relays_is_counted_once() -> None:
    program = """
import fsspec
from encore_events import BaseEvent, EventManager
from encore_storage import observe

class Own(EventManager):
    def __init__(self):
        super().__init__()
        self.names = []

    def connect(self, *arguments, **options):
        self.names.append(arguments[1])
        return super().connect(*arguments, **options)

first, second = EventManager(), Own()
first.connect(BaseEvent, second.emit, weak=False)
observe(fsspec, event_manager=first)
fsspec.filesystem("memory").ls("/")
print(second.names)
"""
    result = run("-c", program)

    assert result.stdout == "[]\n", result.stderr
    assert result.stderr.startswith("1 storage operation took ")


def test_shadowed_sitecustomize_runs_first_class(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.customized = __file__\n")
    program = "import sys; print(customized, sys.modules['sitecustomize'].__file__)"

    result = run("-c", program, env={"PYTHONPATH": str(tmp_path)})

    assert result.stdout == f"{tmp_path}/sitecustomize.py {tmp_path}/sitecustomize.py\n"


@pytest.mark.parametrize("content", ["import no_such_module", "raise RuntimeError('broken')", "this is no Python"])
def test_broken_sitecustomize_is_reported_as_without_encore(tmp_path: Path, content: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(content)
    variables = environment(PYTHONPATH=str(tmp_path))
    alone = subprocess.run(
        [sys.executable, "-c", "print(1)"], env=variables, capture_output=True, text=True, check=True
    )

    result = run("--no-summary", "-c", "print(1)", env={"PYTHONPATH": str(tmp_path)})

    assert (result.stdout, result.stderr) == (alone.stdout, 2 * alone.stderr)  # the runner is a Python program, too


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_isolated_interpreters_are_left_alone(flag: str) -> None:
    result = run(sys.executable, flag, "-c", SEEN)

    assert (result.returncode, result.stdout) == (0, "False\n")


@pytest.fixture(scope="module")
def without_encore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python in whose environment Encore is not installed."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def test_program_whose_python_lacks_encore_runs_and_is_explained(without_encore: Path) -> None:
    result = run(without_encore, "-c", "import sys; print(sys.version_info[0])", env={"PYTHONPATH": ""})

    assert (result.returncode, result.stdout) == (0, "3\n")
    assert result.stderr.startswith(
        f"encore run: {without_encore} is not observed (No module named 'encore_run'): "
        f"run {without_encore} -m pip install . in a clone of Encore\n"
    )


def test_child_whose_python_lacks_encore_is_left_alone_silently(without_encore: Path) -> None:
    result = run(
        "--no-summary", "-c", f"import subprocess; subprocess.run([{str(without_encore)!r}, '-c', 'print(1)'])"
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "1\n", "")


def test_sitecustomize_is_valid_in_old_versions_of_python() -> None:
    source = Path(SITE, "sitecustomize.py").read_text(encoding="ascii")

    ast.parse(source, feature_version=(3, 0))


def test_program_that_cannot_start_encore_runs(tmp_path: Path) -> None:
    (tmp_path / "blinker.py").write_text("raise ImportError('broken here')")

    result = run("-c", "import fsspec; print(fsspec.__name__)", env={"PYTHONPATH": str(tmp_path)})

    assert (result.returncode, result.stdout) == (0, "fsspec\n")
    assert "encore run: this process is not observed: ImportError: broken here\n" in result.stderr
