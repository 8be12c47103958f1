"""A loader that calls functions before and after its module is imported."""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False  # as in `encore_run.starting`
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

loaded = set["ModuleType"]()
"""The modules that have run, as the call after says. Python marks a module as imported only after that call."""


_searches = set["tuple[int, str]"]()
"""The thread and the module's name of each search."""


class CallingLoader:
    """Loads a module as the original loader does, and puts that back.

    Its calls may import modules, unlike a finder, which Python calls with a lock that all imports need.

    Args:
        original: the original loader.
        after: a function to call with the module once it has run.
        before: a function to call before the module is created.
    """

    def __init__(
        self, original: Any, after: Callable[[ModuleType], object], before: Callable[[], object] | None
    ) -> None:
        self._original = original
        self._after = after
        self._before = before

    def __getattr__(self, name: str) -> Any:
        if name == "_original":  # of a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self._original, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what copies and pickles the original loader."""
        return self._original.__reduce_ex__(protocol)

    def __eq__(self, other: object) -> bool:
        return bool(self._original == (other._original if type(other) is CallingLoader else other))

    def __hash__(self) -> int:
        return hash(self._original)

    @property  # type: ignore[misc]  # a class may have it as a property
    def __class__(self) -> Any:
        """The class of the original loader, for hooks of the program that ask with `isinstance`."""
        return type(self._original)

    def create_module(self, spec: Any) -> Any:
        """Create the module as the original loader does, after the call before."""
        if self._before is not None:
            self._before()
        return self._original.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module as the original loader does, and then the call after."""
        for holder, name in ((getattr(module, "__spec__", None), "loader"), (module, "__loader__")):
            if getattr(holder, name, None) is self:  # else another hook has put its own there
                setattr(holder, name, self._original)
        self._original.exec_module(module)
        self._after(module)


def find_calling(
    finder: object,
    fullname: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
    *,
    after: Callable[[ModuleType], object],
    before: Callable[[], object] | None = None,
) -> ModuleSpec | None:
    """Return the spec that the finders behind `finder` find, with a `CallingLoader`; None leaves the search to them."""
    search = _thread.get_ident(), fullname
    if search in _searches:  # by way of a finder of the program's that asks this one
        return None
    _searches.add(search)
    try:
        return _find(finder, fullname, path, target, after, before)
    finally:
        _searches.discard(search)


def _find(
    finder: object,
    fullname: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
    after: Callable[[ModuleType], object],
    before: Callable[[], object] | None,
) -> ModuleSpec | None:
    finders = list(sys.meta_path)
    # All of them, if the program has wrapped this one.
    behind = next((finders[place + 1 :] for place, one in enumerate(finders) if one is finder), finders)
    for other in behind:
        find_spec = getattr(other, "find_spec", None)
        if find_spec is None:  # Python knows what to do with it
            return None
        spec: ModuleSpec | None = find_spec(fullname, path, target)
        if spec is not None:
            if hasattr(spec.loader, "exec_module"):  # not so for namespaces, and loaders of Python 2
                spec.loader = CallingLoader(spec.loader, after, before)  # type: ignore[assignment]  # as any loader
            return spec
    return None
