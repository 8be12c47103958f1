"""The protocol of a client: the module that observes one library."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_storage.clients.errors import is_miss
from encore_storage.observing import StoreObserver


class Options:
    """The arguments of `observe()`, and the observers made with them.

    Args:
        name: the name of the store; by default, the client makes names from a small set, such as 's3:invoices'.
        event_manager: where to emit; by default, `get_event_manager()`.
        error_text: whether events carry the text of the client's errors, which may quote keys and values.

    Attributes:
        classes: the observed classes made with these options, by their `Swapper` and plain class.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: `name` is empty, or a URL with a user, and perhaps a password.
    """

    def __init__(
        self, name: str | None = None, event_manager: BaseEventManager | None = None, *, error_text: bool = False
    ) -> None:
        self.name = _checked_name(name)
        if type(error_text) is not bool:
            raise TypeError(f"error_text must be True or False, not {error_text!r}")
        self.event_manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
        self.error_text = error_text
        self.classes: dict[tuple[object, type], type] = {}
        self._observers: dict[tuple[str, str], StoreObserver] = {}

    def observer(self, name: str, backend: str) -> StoreObserver:
        """Return the observer of the store `name`, or of the name that was given; always the same for one name."""
        key = (self.name or name, backend)
        known = self._observers.get(key)
        if known is None:
            made = StoreObserver(key[0], backend=backend, event_manager=self.event_manager, misses=is_miss)
            known = self._observers.setdefault(key, made)
        return known


def _checked_name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, such as 'orders', not {name!r}")
    if not name:
        raise ValueError("name must not be empty: pass a name such as 'orders', or None for one made by the client")
    if "://" in name and "@" in name:  # the message does not repeat it
        raise ValueError("name must not be a URL with a user or password: pass a name such as 'orders'")
    return name


class Client(Protocol):
    """The functions that observe one library; they are only called once the library has been imported.

    Other packages add a client through the entry point group `encore_storage.clients`: the name of the entry point is
    the top-level module of the library, its object a function without arguments that returns the client.
    """

    def accepts(self, target: object) -> bool:
        """Return True if the target is an object of the library that can be observed."""

    def observe(self, target: Any, options: Options) -> Any:
        """Observe the target from now on, and return it, or a stand-in where that cannot be done in place.

        Observing a target again replaces its options.
        """

    def unobserve(self, target: Any) -> Any:
        """Undo `observe`, and return the plain target; do nothing for one that is not observed."""

    def observe_library(self, options: Options) -> None:
        """Observe all objects that the library makes from now on, and those that it has kept."""

    def unobserve_library(self) -> None:
        """Undo `observe_library`, also for the objects that were made meanwhile."""


class SharedOptions:
    """Options that are shared by the targets that are observed alike, so that they share observers as well."""

    def __init__(self) -> None:
        self._options: weakref.WeakValueDictionary[tuple[int, str | None, bool], Options]
        self._options = weakref.WeakValueDictionary()  # options hold their event manager, so its id is not used again

    def of(self, name: str | None, event_manager: BaseEventManager | None, *, error_text: bool) -> Options:
        """Return the options for these arguments of `observe()`."""
        made = Options(name, event_manager, error_text=error_text)
        return self._options.setdefault((id(made.event_manager), name, error_text), made)
