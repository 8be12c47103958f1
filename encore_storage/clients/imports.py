"""A hook that runs when a library is imported for the first time."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import _bootstrap
from importlib.machinery import ModuleSpec
from types import ModuleType

from encore_events.loggers import get_logger
from encore_run.loading import CallingLoader, loaded

logger = get_logger("encore_storage")


class ImportHook(importlib.abc.MetaPathFinder):
    """Calls functions after the first import of top-level modules; on `sys.meta_path` only while some are awaited."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}
        self._finding = threading.local()

    def call_after_import(self, module: str, call: Callable[[], object], *, waits: bool = True) -> None:
        """Call `call()` once `module` has been imported; it replaces an earlier one.

        Args:
            module: the module.
            call: a function.
            waits: whether to wait for another thread that is importing the module. Otherwise, the call is only made if
                that import began with a `CallingLoader`.
        """
        self._calls[module] = call
        self._await()
        if waits and module in sys.modules:
            # Nothing public waits for an import without importing the module itself, if that fails.
            _bootstrap._lock_unlock_module(module)  # type: ignore[attr-defined]  # noqa: SLF001
        if is_imported(module):  # meanwhile
            self.imported(module)

    def remove(self, module: str) -> None:
        """Do nothing after the import of `module`."""
        self._calls.pop(module, None)
        if not self._calls:
            self.clear()

    def clear(self) -> None:
        """Await no import."""
        self._calls.clear()
        self._rest()

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
            spec.loader = CallingLoader(spec.loader, self.imported)  # type: ignore[assignment]  # it has the methods of any loader
        return spec

    def imported(self, module: str) -> None:
        """Run and forget the call of `module`; its errors are logged, since the import has succeeded."""
        call = self._calls.pop(module, None)
        if not self._calls:
            self._rest()
        try:
            if call is not None:
                call()
        except Exception:
            logger.exception("could not observe %r", module)

    def _await(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def _rest(self) -> None:
        while self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._calls:  # another thread has added one meanwhile
            self._await()


def is_imported(module: str) -> bool:
    """Return whether the code of a module has run to its end."""
    found = sys.modules.get(module)
    if found is None:
        return False
    return found in loaded or not getattr(getattr(found, "__spec__", None), "_initializing", False)
