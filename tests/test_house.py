"""Rules of the code base that no tool checks by itself, and the import contracts."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("encore_events", "encore_run", "encore_storage")
SOURCES = sorted(
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "sitecustomize.py"  # it belongs to no package, and is valid in every Python
)
RE_EXPORTING_MODULES = [
    path for path in SOURCES if path.name == "__init__.py" or path == Path("encore_storage/utils.py")
]
WITHOUT_EXTRAS = [path for path in SOURCES if {"cli", "server"}.isdisjoint(path.with_suffix("").parts)]
# The bars draw on a terminal; the outputs write to the stream that the program gave structlog; commands print, also
# where `encore run` starts in a program.
SILENT = [
    path
    for path in SOURCES
    if {"cli", "encore_run"}.isdisjoint(path.with_suffix("").parts)
    and path.name not in {"bars.py", "outputs.py", "start.py", "__main__.py"}
]
BUS_MODULES = [path for path in SOURCES if path.parts[0] == "encore_events"]
BUS_USERS = [
    path.relative_to(ROOT)
    for package in ("benchmarks", "dashboards", "encore_storage")
    for path in sorted((ROOT / package).rglob("*.py"))
]
LONGEST = 400
MOST_ROOT_MODULES = 12
# The method of files is called `.tell` or "tell".
PARAPHRASES = re.compile(r"(?<![.\"])\b(?:tell(?!\(\))|tells|told|telling|untold)\b", re.IGNORECASE)
LOCK = re.compile(r"(lock|connecting|writing|_locks\.setdefault\(.*\))$")  # the context of a `with`
QUESTIONS = ("What ", "Whether ", "How ", "Whose ")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

IMPORT_ALL = """
import importlib, json, logging, pkgutil, signal, sys, threading
import prometheus_client, structlog

def state():
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "metrics": sorted(family.name for family in prometheus_client.REGISTRY.collect()),
        "structlog is configured": structlog.is_configured(),
        "logging": [repr(item) for item in (logging.root.handlers, logging.root.level, logging.lastResort)],
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
    }

before = state()
names = []
for package in sys.argv[1:]:
    path = importlib.import_module(package).__path__
    names += [package, *(module.name for module in pkgutil.walk_packages(path, package + "."))]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps({"before": before, "after": state(), "names": names}))
"""

IMPORT_WITHOUT_EXTRAS = """
import importlib, sys

for extra in ("httpx", "httpx_sse", "orjson", "rich", "starlette", "typer", "uvicorn"):
    sys.modules[extra] = None  # importing it is an ImportError
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def run(program: str, *arguments: str) -> str:
    """Run a program in a new interpreter, with warnings as errors, and return its output."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> Any:
    return json.loads(run(IMPORT_ALL, *PACKAGES))


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def isort_order(name: str) -> tuple[bool, bool, str]:
    """Return a sort key: CONSTANTS, then Classes, then functions, as isort sorts imported names."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("aspect", ["threads", "metrics", "structlog is configured", "logging", "hooks", "signals"])
def test_importing_every_module_has_no_side_effects(imported: Any, aspect: str) -> None:
    assert imported["after"][aspect] == imported["before"][aspect]


def test_every_module_is_imported_without_output(imported: Any) -> None:
    assert sorted(imported["names"]) == sorted(map(module_name, SOURCES))


def test_library_imports_without_extras() -> None:
    assert run(IMPORT_WITHOUT_EXTRAS, *map(module_name, WITHOUT_EXTRAS)) == ""


def re_exporting_imports(path: Path) -> list[ast.ImportFrom]:
    """Return the imports of the names that the module re-exports, also if it imports them when they are first used."""
    statements = parse(path).body
    lazy = [each for statement in statements if isinstance(statement, ast.If) for each in statement.body]
    return [statement for statement in lazy or statements if isinstance(statement, ast.ImportFrom)]


def lazy_names_of(path: Path) -> str:
    """Return the statement that makes the names of a package lazy."""
    prefix = f"{module_name(path)}."
    modules = {
        (node.module or "").removeprefix(prefix): tuple(alias.name for alias in node.names)
        for node in re_exporting_imports(path)
    }
    return f"__getattr__, __dir__ = lazy_names(__name__, {modules!r})"


@pytest.mark.parametrize("path", RE_EXPORTING_MODULES, ids=module_name)
def test_re_exporting_module_only_re_exports(path: Path) -> None:
    statements = parse(path).body

    assert ast.get_docstring(ast.Module(statements, []))
    for statement in statements[1:]:
        if isinstance(statement, ast.If):
            assert ast.unparse(statement.test) == "TYPE_CHECKING"
            assert statement.body == [each for each in statement.body if isinstance(each, ast.ImportFrom)]
            assert [ast.unparse(each) for each in statement.orelse] == [lazy_names_of(path)]
            continue
        assert isinstance(statement, ast.ImportFrom) or ast.unparse(statement).startswith("__all__ = [")


@pytest.mark.parametrize("path", RE_EXPORTING_MODULES, ids=module_name)
def test_re_exporting_module_has_sorted_all(path: Path) -> None:
    names = [alias.asname or alias.name for statement in re_exporting_imports(path) for alias in statement.names]
    listed = [ast.literal_eval(statement.value) for statement in parse(path).body if isinstance(statement, ast.Assign)]

    assert listed == ([sorted(names, key=isort_order)] if names else [])


def declared_names(path: Path) -> list[str]:
    """Return the module's `__all__`, empty if there is none."""
    assigned = [node for node in parse(path).body if isinstance(node, ast.Assign)]
    listed = [node.value for node in assigned if ast.unparse(node.targets[0]) == "__all__"]
    return [name for value in listed for name in ast.literal_eval(value)]


def bus_names_used_in(path: Path) -> set[tuple[str, str]]:
    """Return (module, name) for each name of `encore_events` that the file imports or reads as a module's attribute."""
    nodes = list(ast.walk(parse(path)))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in plain if name.split(".")[0] == "encore_events"]
    modules = {module_name(path) for path in BUS_MODULES}
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "encore_events"
        for alias in node.names
    }
    aliases = {name: f"{module}.{used}" for name, (module, used) in imported.items() if f"{module}.{used}" in modules}
    attributes = {
        (aliases[node.value.id], node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
    }
    return attributes | {(module or "", used) for name, (module, used) in imported.items() if name not in aliases}


@functools.cache
def declared_by_the_bus() -> set[tuple[str, str]]:
    """Return (module, name) for each declared name of `encore_events`."""
    return {(module_name(source), name) for source in BUS_MODULES for name in declared_names(source)}


@pytest.mark.parametrize("path", BUS_MODULES, ids=module_name)
def test_declared_names_are_public_and_sorted(path: Path) -> None:
    names = declared_names(path)

    assert names == sorted(names, key=isort_order)
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("path", BUS_USERS, ids=module_name)
def test_other_packages_use_only_declared_names_of_the_bus(path: Path) -> None:
    assert bus_names_used_in(path) <= declared_by_the_bus()


@pytest.mark.parametrize("package", PACKAGES)
def test_package_has_py_typed_marker(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_module_is_short(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", SILENT, ids=module_name)
def test_only_command_and_bars_write_to_the_terminal(path: Path) -> None:
    nodes = list(ast.walk(parse(path)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}

    assert "print" not in names
    assert attributes.isdisjoint({"sys.stdout", "sys.stderr"})


def test_import_contracts_hold() -> None:
    run("from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))")


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_module_uses_the_terms_of_the_glossary(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED)]

    assert PARAPHRASES.findall(text) == []
    assert [docstring for docstring in docstrings if docstring.startswith(QUESTIONS)] == []


def test_root_of_the_storage_package_is_short() -> None:
    assert len([path for path in SOURCES if path.parent == Path("encore_storage")]) <= MOST_ROOT_MODULES


def called_names(module: ast.Module, *nodes: ast.AST) -> set[str]:
    """Return the names of the module's functions that are called, and 'logger' if one of its methods is."""
    assigned = [node for each in module.body if isinstance(each, ast.Assign) for node in ast.walk(each.targets[0])]
    own = {"self", "cls"} | {node.id for node in assigned if isinstance(node, ast.Name)}
    names = set[str]()
    for each in (each.func for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call)):
        if isinstance(each, ast.Name):
            names.add(each.id)
        elif isinstance(each, ast.Attribute) and ast.unparse(each.value) in own:
            names.add("logger" if ast.unparse(each.value) == "logger" else each.attr)
    return names


def logging_functions(module: ast.Module) -> set[str]:
    """Return the names of the module's functions that log, by themselves or in another one of them."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    called = [(each.name, called_names(module, each)) for each in functions]
    found = {"logger"}
    while more := {name for name, names in called if names & found} - found:
        found |= more
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_is_logged_under_a_lock(path: Path) -> None:
    module = parse(path)
    log = logging_functions(module)
    blocks = [node for node in ast.walk(module) if isinstance(node, ast.With)]
    locked = [node for node in blocks if LOCK.search(ast.unparse(node.items[0].context_expr))]

    assert [ast.unparse(node) for node in locked if called_names(module, *node.body) & log] == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_loggers_are_isolated(path: Path) -> None:
    assigned = [ast.unparse(node.value) for node in ast.walk(parse(path)) if isinstance(node, ast.Assign)]

    assert not [value for value in assigned if value.startswith("logging.getLogger(")]
