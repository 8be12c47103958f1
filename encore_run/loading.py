"""A loader that calls a function once its module has been imported."""

from __future__ import annotations

TYPE_CHECKING = False  # as in `encore_run.starting`
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

loaded = set["ModuleType"]()
"""The modules that a `CallingLoader` has loaded. Python marks a module as imported only after the call."""


class CallingLoader:
    """Loads a module as the original loader does, and puts that back. Then it calls `call` with the module's name."""

    def __init__(self, original: Any, call: Callable[[str], object]) -> None:
        self._original = original
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def create_module(self, spec: Any) -> Any:
        """Create the module as the original loader does."""
        return self._original.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module as the original loader does, and then the call."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        module.__loader__ = self._original
        self._original.exec_module(module)
        loaded.add(module)  # before the call, for threads that ask for one meanwhile
        self._call(module.__name__)
