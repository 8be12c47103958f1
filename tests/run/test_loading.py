"""A `CallingLoader` calls around an import, which is otherwise as without it."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from encore_run.loading import CallingLoader, find_calling

NAME = "encore_test_loaded"


class Finder:
    """A finder whose loader lists its calls."""

    def __init__(self) -> None:
        self.calls = list[str]()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module of the tests alone."""
        if fullname != NAME:
            return None
        before, after = (lambda: self.calls.append("before")), (lambda module: self.calls.append(module.answer))
        return find_calling(self, fullname, path, target, before=before, after=after)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the module."""
    path = tmp_path / f"{NAME}.py"
    path.write_text("answer = 'after'")
    monkeypatch.syspath_prepend(tmp_path)
    return path


@pytest.fixture
def finder(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Finder]:
    """Return the finder, in front of all others."""
    made = Finder()
    monkeypatch.setattr(sys, "meta_path", [made, *sys.meta_path])
    yield made
    sys.modules.pop(NAME, None)


def imported() -> Any:
    return importlib.import_module(NAME)


def assert_plain(module: Any) -> None:
    assert type(module.__loader__) is SourceFileLoader
    assert module.__spec__.loader is module.__loader__


def test_import_calls_before_and_after(finder: Finder) -> None:
    module = imported()

    assert finder.calls == ["before", "after"]
    assert_plain(module)


def test_look_at_the_spec_calls_nothing(finder: Finder, source: Path) -> None:
    spec = importlib.util.find_spec(NAME)

    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    assert (spec.origin, spec.loader.get_filename(NAME), spec.loader.is_package(NAME)) == (str(source),) * 2 + (False,)
    assert finder.calls == []


def test_reload_calls_after(finder: Finder, source: Path) -> None:
    module = imported()
    source.write_text("answer = 'reloaded'")

    assert importlib.reload(module) is module
    assert finder.calls == ["before", "after", "reloaded"]
    assert_plain(module)


def test_reload_of_a_module_without_a_spec_works(finder: Finder) -> None:
    module = sys.modules[NAME] = ModuleType(NAME)

    assert importlib.reload(module).answer == "after"
    assert finder.calls == ["after"]


def test_failed_import_calls_nothing_after_and_can_be_repeated(finder: Finder, source: Path) -> None:
    source.write_text("raise OSError('broken')")
    with pytest.raises(OSError, match="broken"):
        imported()
    assert finder.calls == ["before"]

    source.write_text("answer = 'repaired'")
    importlib.invalidate_caches()
    assert_plain(imported())
    assert finder.calls == ["before", "before", "repaired"]


def test_lazy_import_calls_after_the_first_use(finder: Finder) -> None:
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    assert finder.calls == ["before"]

    assert module.answer == "after"
    assert finder.calls == ["before", "after"]
    assert_plain(module)


def test_namespace_package_is_left_alone(finder: Finder, source: Path) -> None:
    source.unlink()
    source.with_suffix("").mkdir()
    importlib.invalidate_caches()

    assert list(imported().__path__) == [str(source.with_suffix(""))]
    assert finder.calls == []


class Wrapping:
    """A hook as that of wrapt: it finds what all other finders find, and wraps the loader."""

    def __init__(self) -> None:
        self.calls = list[str]()
        self._finding = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find the module of the tests alone."""
        if fullname != NAME or self._finding:
            return None
        self._finding = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding = False
        assert spec is not None
        spec.loader = WrappingLoader(spec.loader, self.calls)  # type: ignore[assignment]  # as hooks do
        return spec


class WrappingLoader:
    """The loader of such a hook. It stays in the module."""

    def __init__(self, loader: Any, calls: list[str]) -> None:
        self._loader = loader
        self._calls = calls

    def create_module(self, spec: Any) -> Any:
        """Create the module as the other loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module as the other loader does."""
        self._loader.exec_module(module)
        self._calls.append("wrapping")


@pytest.mark.parametrize("place", [0, 1])
def test_hook_of_the_program_works_as_alone(finder: Finder, place: int) -> None:
    hook = Wrapping()
    sys.meta_path.insert(place, hook)
    module: Any = imported()

    assert hook.calls == ["wrapping"]
    assert set(finder.calls) == {"before", "after"}
    assert type(module.__loader__) is WrappingLoader
    assert module.__spec__.loader is module.__loader__


class OldLoader:
    """A loader without `exec_module`."""

    def load_module(self, fullname: str) -> ModuleType:
        """Make a module."""
        return sys.modules.setdefault(fullname, ModuleType(fullname, "old"))


class OldFinder:
    """A finder of the module of the tests, with the old loader."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find the module of the tests alone."""
        return ModuleSpec(fullname, OldLoader()) if fullname == NAME else None  # type: ignore[arg-type]  # old


@pytest.mark.filterwarnings("ignore:.*exec_module:ImportWarning")
def test_loader_of_old_kind_loads(finder: Finder) -> None:
    sys.meta_path.insert(1, OldFinder())

    assert imported().__doc__ == "old"
    assert finder.calls == []


def test_finder_of_old_kind_is_left_to_python(finder: Finder) -> None:
    sys.meta_path.insert(1, object())  # type: ignore[arg-type]  # Python passes it over, or asks its `find_module`

    assert find_calling(finder, NAME, None, None, after=print) is None


def test_finder_that_the_program_has_wrapped_asks_all_others(finder: Finder) -> None:
    class Wrapped:
        """A finder of the program's that asks another one."""

        def __init__(self, finder: Any) -> None:
            self.find_spec = finder.find_spec

    before = sys.meta_path[:]
    sys.meta_path[:] = [Wrapped(one) for one in before]
    try:
        spec = importlib.util.find_spec(NAME)
    finally:
        sys.meta_path[:] = before

    loader: Any = None if spec is None else spec.loader
    assert type(loader) is CallingLoader
    assert loader == copy.copy(loader)
