"""`observe()` and `unobserve()`: find the client of a target, now or when its library is imported."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TypeVar, cast

from encore_events.abstract import BaseEventManager
from encore_storage.clients.client import Client, Options, SharedOptions
from encore_storage.clients.errors import UnsupportedClientError
from encore_storage.clients.imports import ImportHook, is_imported

T = TypeVar("T")

ENTRY_POINTS = "encore_storage.clients"
"""The group of the entry points by which other packages add clients."""

_BUILT_IN = {
    "aiobotocore": "encore_storage.clients.botocore:BotocoreClient",
    "boto3": "encore_storage.clients.botocore:BotocoreClient",
    "botocore": "encore_storage.clients.botocore:BotocoreClient",
    "fsspec": "encore_storage.clients.fsspec:FsspecClient",
    "sqlalchemy": "encore_storage.clients.sqlalchemy:SqlalchemyClient",
}
"""The classes of the built-in clients, as 'module:class', by the top-level module of their library."""


class _Clients:
    """The clients by the top-level modules of their libraries; each is made when its library is first observed."""

    def __init__(self) -> None:
        self._made: dict[str, Client] = {}
        self._found: dict[str, Callable[[], Client]] | None = None

    @property
    def libraries(self) -> list[str]:
        """The supported libraries."""
        return list(self._known())

    def of_library(self, library: str) -> Client | None:
        """Return the client of a library, or None if it is not supported."""
        make = self._known().get(library)
        if make is None:
            return None
        return self._made.get(library) or self._made.setdefault(library, make())

    def of(self, target: object) -> Client | None:
        """Return the client that accepts the target, by the libraries of its class and its base classes."""
        libraries = dict.fromkeys(cls.__module__.partition(".")[0] for cls in type(target).__mro__)
        clients = (self.of_library(library) for library in libraries)
        return next((client for client in clients if client is not None and client.accepts(target)), None)

    def made(self, library: str | None = None) -> Iterator[Client]:
        """Yield the clients that have been used, or that of one library."""
        for name, client in list(self._made.items()):
            if library in (None, name):
                yield client

    def _known(self) -> dict[str, Callable[[], Client]]:
        if self._found is None:
            found: dict[str, Callable[[], Client]]
            found = {library: functools.partial(_make, path) for library, path in _BUILT_IN.items()}
            for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
                found[entry.name] = functools.partial(_load, entry)
            self._found = found
        return self._found


_clients = _Clients()
_options = SharedOptions()
import_hook = ImportHook()
_always = dict[str, Options]()
"""The libraries that stay observed, as these options say, when the program ends its own observation."""


def observe(
    target: T | None = None,
    *,
    name: str | None = None,
    event_manager: BaseEventManager | None = None,
    error_text: bool = False,
) -> T:
    """Observe a client object, all objects of a library, or every supported library; return the target.

    The target is observed in place where that is possible; otherwise a stand-in is returned. Observing it again
    replaces the options.

    Args:
        target: an object of a supported library, or its module; without it, every supported library is observed, also
            one that is imported later.
        name: the name of the store in events, logs and metrics, from a small set of names; by default, a name made by
            the client, such as 's3:invoices'.
        event_manager: where to emit; by default, `get_event_manager()`.
        error_text: whether events carry the text of errors, which may quote keys, statements and values.

    Raises:
        UnsupportedClientError: the target cannot be observed (a TypeError).
        TypeError: another argument has the wrong type.
        ValueError: the name is empty, or a URL with a user or password.
    """
    options = _options.of(name, event_manager, error_text=error_text)
    if target is None:
        for library in _clients.libraries:
            _observe_library(library, options)
        return cast("T", None)
    if isinstance(target, ModuleType):
        if target.__name__ not in _clients.libraries:
            raise UnsupportedClientError(target, _clients.libraries)
        _observe_library(target.__name__, options)
        return target
    return cast("T", _client_of(target).observe(target, options))


def unobserve(target: T | None = None) -> T:
    """Undo `observe()` for the same target, and return the plain target; without one, for all libraries.

    Raises:
        UnsupportedClientError: the target can never have been observed (a TypeError).
    """
    if target is None:
        import_hook.clear()
        for client in _clients.made():
            client.unobserve_library()
        _observe_always(_always)
        return cast("T", None)
    if isinstance(target, ModuleType):
        if target.__name__ not in _clients.libraries:
            raise UnsupportedClientError(target, _clients.libraries)
        import_hook.remove(target.__name__)
        for client in _clients.made(target.__name__):
            client.unobserve_library()
        _observe_always([target.__name__])
        return target
    return cast("T", _client_of(target).unobserve(target))


def observe_libraries(libraries: Iterable[str] | None, event_manager: BaseEventManager) -> None:
    """Observe supported libraries by their names, now or once they are imported; None stands for all.

    `observe()` of the program replaces this, and its `unobserve()` returns to it.
    """
    options = _options.of(None, event_manager, error_text=False)
    _always.update(dict.fromkeys(_clients.libraries if libraries is None else libraries, options))
    # The import of another library may need this thread. In a run, its end calls the hook.
    _observe_always(_always, waits=False)


def _observe_always(libraries: Iterable[str], *, waits: bool = True) -> None:
    for library in libraries:
        if library in _always:
            _observe_library(library, _always[library], waits=waits)


def _observe_library(library: str, options: Options, *, waits: bool = True) -> None:
    def observe_now() -> None:
        client = _clients.of_library(library)
        if client is not None:
            client.observe_library(options)

    if is_imported(library):
        observe_now()
    else:
        import_hook.call_after_import(library, observe_now, waits=waits)


def _client_of(target: object) -> Client:
    client = _clients.of(target)
    if client is None:
        raise UnsupportedClientError(target, _clients.libraries)
    return client


def _load(entry: importlib.metadata.EntryPoint) -> Client:
    return cast("Client", entry.load()())


@functools.cache
def _make(path: str) -> Client:
    """Return the client at 'module:class'; several libraries may share one."""
    module, _, cls = path.partition(":")
    return cast("Client", getattr(importlib.import_module(module), cls)())
