"""The process's default event manager."""

from __future__ import annotations

from encore_events.abstract import BaseEventManager
from encore_events.errors import DefaultManagerError
from encore_events.manager import EventManager

__all__ = ["checked_event_manager", "get_event_manager", "is_default", "set_event_manager"]

_default: dict[str, BaseEventManager] = {}


def get_event_manager() -> BaseEventManager:
    """Return the default event manager, made on first use."""
    return _default.get("manager") or _default.setdefault("manager", EventManager())


def set_event_manager(manager: BaseEventManager) -> None:
    """Make `manager` the default. Raises DefaultManagerError, a ValueError, if one was set or made on first use."""
    checked = checked_event_manager(manager)
    if "manager" in _default or _default.setdefault("manager", checked) is not checked:
        raise DefaultManagerError(_default["manager"])


def is_default(manager: BaseEventManager) -> bool:
    """Return whether `manager` is the default, without making one."""
    return _default.get("manager") is manager


def checked_event_manager(manager: object) -> BaseEventManager:
    """Return `manager`. Raises TypeError if it is no event manager."""
    if not isinstance(manager, BaseEventManager):
        raise TypeError(f"an event manager was expected, such as EventManager(), not {manager!r}")
    return manager
