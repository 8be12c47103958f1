"""A hook that runs when a library is imported for the first time."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from encore_events.loggers import get_logger

logger = get_logger("encore_storage")


class ImportHook(importlib.abc.MetaPathFinder):
    """Calls functions after the first import of top-level modules; on `sys.meta_path` only while some are awaited."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}
        self._finding = threading.local()

    def call_after_import(self, module: str, call: Callable[[], object]) -> None:
        """Call `call()` once `module` has been imported; it replaces an earlier one."""
        self._calls[module] = call
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self, module: str) -> None:
        """Do nothing after the import of `module`."""
        self._calls.pop(module, None)
        if not self._calls:
            self.clear()

    def clear(self) -> None:
        """Await no import."""
        self._calls.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (of the protocol)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that runs the call; None for other modules."""
        if fullname not in self._calls or getattr(self._finding, "name", None) == fullname:
            return None
        self._finding.name = fullname
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding.name = None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def imported(self, module: str) -> None:
        """Run and forget the call of `module`; its errors are logged, since the import has succeeded."""
        call = self._calls.pop(module, None)
        if not self._calls:
            self.clear()
        try:
            if call is not None:
                call()
        except Exception:
            logger.exception("could not observe %r", module)


class _Loader(importlib.abc.Loader):
    """The loader of an awaited module: loads as the original, puts that back, and runs the call."""

    def __init__(self, original: Any, hook: ImportHook) -> None:
        self._original = original
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the original loader does."""
        module: ModuleType | None = self._original.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module as the original loader does, and then the call of the hook."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        module.__loader__ = self._original
        self._original.exec_module(module)
        self._hook.imported(module.__name__)
