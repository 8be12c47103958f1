"""A hook that runs when a library is imported for the first time."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib import _bootstrap
from importlib.machinery import ModuleSpec
from types import ModuleType

from encore_events.loggers import get_logger
from encore_run.loading import find_calling, loaded

logger = get_logger("encore_storage")


class ImportHook(importlib.abc.MetaPathFinder):
    """Calls functions after the first import of top-level modules; on `sys.meta_path` only while some are awaited."""

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}

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
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that runs the call; None for other modules."""
        return find_calling(self, fullname, path, target, after=self._loaded) if fullname in self._calls else None

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

    def _loaded(self, module: ModuleType) -> None:
        loaded.add(module)  # before the call, for threads that ask for one meanwhile
        self.imported(module.__name__)

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
