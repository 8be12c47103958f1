"""The hook in each Python process of a program: it starts Encore at the import of the first observable library."""

from __future__ import annotations

import _thread
import os
import sys

from encore_run.libraries import LIBRARIES
from encore_run.loading import CallingLoader

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
    """Finds no module itself: it starts Encore before a library is imported, and after Encore was.

    It stays until Encore has started, for the libraries that other threads import meanwhile.
    """

    def __init__(self, libraries: frozenset[str]) -> None:
        self._libraries = libraries
        self._finding = set[int]()  # the threads that are
        self._begins = _thread.allocate_lock()  # never released
        self._beginner: int | None = None  # a thread

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> Any:  # noqa: ARG002 (the protocol)
        """Return what the other finders find, once Encore observes the library; None for all other modules."""
        caller = _thread.get_ident()
        if fullname not in self._libraries or caller in self._finding or caller == self._beginner:
            return None
        import importlib.util  # noqa: PLC0415 (not every program needs it)

        self._finding.add(caller)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding.discard(caller)
        if spec is None or spec.loader is None:
            return spec
        if fullname == _OWN:  # nothing of it may be imported before it is complete
            spec.loader = CallingLoader(spec.loader, lambda _: self.begin())  # type: ignore[assignment]  # as any loader
            return spec
        if self.begin():
            return importlib.util.find_spec(fullname)  # by the hook that observes it
        spec.loader = CallingLoader(spec.loader, _imported_meanwhile)  # type: ignore[assignment]  # as any loader
        return spec

    def begin(self) -> bool:
        """Start Encore, or return False if a thread has begun to. The program goes on whatever happens."""
        if not self._begins.acquire(blocking=False):
            return False
        self._beginner = _thread.get_ident()
        try:
            from encore_storage.run.start import start  # noqa: PLC0415 (it takes long, and not every program needs it)

            start()
        except Exception as error:  # noqa: BLE001 (the program runs as it would alone)
            say(f"this process is not observed: {type(error).__name__}: {error}")
        finally:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            self._beginner = None
        return True


def _imported_meanwhile(library: str) -> None:
    """Observe a library that was imported while Encore started, unless Encore has not asked for it yet."""
    observing = sys.modules.get("encore_storage.clients.observe")
    hook = getattr(observing, "import_hook", None)
    if hook is not None:
        hook.imported(library)


def say(line: str) -> None:
    """Write a line to standard error, not through objects that the program may have replaced."""
    if sys.__stderr__ is None:  # it was closed at the start: its number may be that of any file
        return
    try:  # noqa: SIM105 (contextlib takes as long to import as all the rest)
        os.write(2, f"encore run: {' '.join(line.split())}\n".encode(errors="backslashreplace"))
    except OSError:  # closed since
        pass
