"""The conditions under which a listener or a hold accepts an event of its class."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from encore_events.errors import InvalidListenerError
from encore_events.events import BaseEvent

__all__ = ["Filter", "Where"]

Filter = Mapping[str, Any]
Where = Callable[[Any], object]


class Condition:
    """A filter and a predicate; both must accept an event.

    Attributes:
        filter: required attribute values by dotted name.
        where: the predicate, or None.
        is_none: True if every event is accepted.
    """

    __slots__ = ("_getters", "filter", "is_none", "where")

    def __init__(self, filter: Filter | None, where: Where | None) -> None:  # noqa: A002 (the name that connect() has)
        self.filter = dict(filter or {})
        self.where = where
        self._getters = [(operator.attrgetter(name), wanted) for name, wanted in self.filter.items()]
        self.is_none = not self.filter and where is None

    def accepts(self, event: BaseEvent) -> bool:
        """Return whether the event passes filter and predicate. Lets through what they raise."""
        for get, wanted in self._getters:
            try:
                value = get(event)
            except AttributeError:
                return False
            if value is not wanted and not value == wanted:  # noqa: SIM201 (the definition is `is` or `==`)
                return False
        return self.where is None or bool(self.where(event))


def check_filter(func: object, filter: object) -> None:  # noqa: A002 (the name that connect() has)
    """Raise InvalidListenerError, about `func`, unless `filter` is None or maps dotted names to values."""
    if filter is not None and not (isinstance(filter, Mapping) and all(_is_path(name) for name in filter)):
        raise InvalidListenerError(func, f"filter must map names of attributes to values, not {filter!r}")


def _is_path(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
