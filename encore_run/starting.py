"""The hook in each Python process of a program: it starts Encore at the import of the first observable library."""

from __future__ import annotations

import _thread
import os
import sys

from encore_run.libraries import LIBRARIES
from encore_run.loading import find_calling, loaded

TYPE_CHECKING = False  # typing takes as long to import as all the rest, in each Python process of the program
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_OWN = "encore_storage"
_BEGUN = "encore_run.begun"
_FORK_SECONDS = 10.0
"""The time that a fork waits for the start, in case the start waits for the forking thread."""

_starting = _thread.RLock()
_is_begun = _is_started = _is_orphan = False


def await_libraries() -> None:
    """Start Encore when the first library is imported that can be observed. Until then, nothing is imported for it."""
    names = os.environ.get("ENCORE_OBSERVE", "")
    libraries = {name.strip() for name in names.split(",")} if names else set(LIBRARIES)
    if libraries.isdisjoint(LIBRARIES):  # then no import would start Encore, which reports wrong names
        _check_variables()
    os.register_at_fork(after_in_child=_renew_in_child)
    sys.meta_path.insert(0, _Finder(frozenset(libraries)))


def _check_variables() -> None:
    from encore_run.options import OptionError, Options  # noqa: PLC0415 (it takes long, and is rarely needed)

    try:
        Options.of(os.environ)
    except OptionError as error:
        say(f"this process is not observed: {type(error).__name__}: {error}")


class _Finder:
    """Finds no module itself: it has Encore started before a library is imported, and after Encore was.

    It stays: if it were removed, another thread that goes through `sys.meta_path` would miss the next finder.
    """

    def __init__(self, libraries: frozenset[str]) -> None:
        self._libraries = libraries

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find, to be loaded with the start of Encore; None for all other modules."""
        if fullname in self._libraries:
            return find_calling(self, fullname, path, target, before=_begin_first, after=_observe_imported)
        if fullname == _OWN:  # nothing of it may be imported before it is complete
            return find_calling(self, fullname, path, target, after=lambda _: _begin())
        if fullname == _BEGUN:
            return find_calling(self, fullname, path, target, after=lambda _: _start())
        return None


def _begin_first() -> None:
    """Start Encore, unless another thread has begun to."""
    if _BEGUN not in sys.modules:
        _begin()


def _begin() -> None:
    """Start Encore, or wait until another thread has."""
    global _is_begun  # noqa: PLW0603 (there is one process)
    if _is_started:
        return
    if _is_orphan:
        _start()
        return
    _is_begun = True
    try:  # noqa: SIM105 (contextlib takes as long to import as all the rest)
        import encore_run.begun  # noqa: F401, PLC0415 (see there)
    except RuntimeError:  # that thread waits for this one
        pass


def _start() -> None:
    """Start Encore. The program goes on whatever happens."""
    global _is_started  # noqa: PLW0603 (there is one process)
    with _starting:
        if _is_started:
            return
        # A child has no thread that would release the locks of modules which are being imported.
        os.register_at_fork(before=_wait_for_start)
        try:
            import encore_events.forks  # noqa: F401, PLC0415 (as below)

            # Again, since the last hook runs first: before those of that module acquire what the start may need.
            os.register_at_fork(before=_wait_for_start)
            from encore_storage.run.start import start  # noqa: PLC0415 (it takes long, and not every program needs it)

            start()
        except Exception as error:  # noqa: BLE001 (the program runs as it would alone)
            say(f"this process is not observed: {type(error).__name__}: {error}")
        _is_started = True


def _wait_for_start() -> None:
    if _starting.acquire(timeout=_FORK_SECONDS):
        _starting.release()


def _renew_in_child() -> None:
    """Give the child a free lock, and, if it was forked while another thread began, have it start without the module.

    That thread is not in the child, and it held the lock of the module that it was importing.
    """
    global _starting, _is_orphan
    _starting, _is_orphan = _thread.RLock(), _is_begun and not _is_started


def _observe_imported(library: ModuleType) -> None:
    """Observe a library that another thread has imported while Encore started, before that uses it."""
    _begin()
    loaded.add(library)  # before the hook is asked, for threads that ask for a call meanwhile
    observing = sys.modules.get("encore_storage.clients.observe")
    hook = getattr(observing, "import_hook", None)
    if hook is not None:
        hook.imported(library.__name__)


def say(line: str) -> None:
    """Write a line to standard error, not through objects that the program may have replaced."""
    if sys.__stderr__ is None:  # it was closed at the start: its number may be that of any file
        return
    try:  # noqa: SIM105 (contextlib takes as long to import as all the rest)
        os.write(2, f"encore run: {' '.join(line.split())}\n".encode(errors="backslashreplace"))
    except OSError:  # closed since
        pass
