"""The hook in each Python process of a program: it starts Encore at the import of the first observable library."""

from __future__ import annotations

import _thread
import os
import sys

from encore_run.libraries import LIBRARIES

TYPE_CHECKING = False  # typing takes as long to import as all the rest, in each Python process of the program
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_OWN = "encore_storage"


def await_libraries() -> None:
    """Start Encore when the first library is imported that can be observed. Until then, nothing is imported for it."""
    names = os.environ.get("ENCORE_OBSERVE", "")
    libraries = {name.strip() for name in names.split(",")} if names else set(LIBRARIES)
    sys.meta_path.insert(0, _Finder(frozenset({*libraries, _OWN})))


class _Finder:
    """Finds no module itself: it starts Encore before a library is imported, and after Encore was."""

    def __init__(self, libraries: frozenset[str]) -> None:
        self._libraries = libraries
        self._finding: int | None = None

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> Any:  # noqa: ARG002 (the protocol)
        """Return what the other finders find, once Encore observes the library; None for all other modules."""
        if fullname not in self._libraries or self._finding == _thread.get_ident():
            return None
        import importlib.util  # noqa: PLC0415 (not every program needs it)

        self._finding = _thread.get_ident()
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding = None
        if spec is None or spec.loader is None:
            return spec
        if fullname == _OWN:  # nothing of it may be imported before it is complete
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # it has the methods of any loader
            return spec
        self.begin()
        return importlib.util.find_spec(fullname)  # by the hook that observes it

    def begin(self) -> None:
        """Start Encore, once. The program goes on whatever happens."""
        if self not in sys.meta_path:
            return
        sys.meta_path.remove(self)
        try:
            from encore_storage.run.start import start  # noqa: PLC0415 (it takes long, and not every program needs it)

            start()
        except Exception as error:  # noqa: BLE001 (the program runs as it would alone)
            say(f"this process is not observed: {type(error).__name__}: {error}")


class _Loader:
    """The loader of Encore: loads as the original, puts that back, and starts Encore."""

    def __init__(self, original: Any, finder: _Finder) -> None:
        self._original = original
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def create_module(self, spec: Any) -> Any:
        """Create the module as the original loader does."""
        return self._original.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module as the original loader does, and then start Encore."""
        module.__spec__.loader = module.__loader__ = self._original
        self._original.exec_module(module)
        self._finder.begin()


def say(line: str) -> None:
    """Write a line to standard error, not through objects that the program may have replaced."""
    if sys.__stderr__ is None:  # it was closed at the start: its number may be that of any file
        return
    try:  # noqa: SIM105 (contextlib takes as long to import as all the rest)
        os.write(2, f"encore run: {' '.join(line.split())}\n".encode(errors="backslashreplace"))
    except OSError:  # closed since
        pass
