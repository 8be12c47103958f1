"""The compiled plan of one event class: who hears it, in order, decided once and never changed.

A plan is made at the first emit after something connected, disconnected, was collected, enabled or
disabled, and thrown away at the next such change. Equality filters on the same attribute share one
dict look-up, so 1 matching listener of 1,000 costs what 1 of 10 costs.
"""

from __future__ import annotations

import enum
import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from encore_events.events import BaseEvent
from encore_events.listeners import Listener

Call = Callable[[Any], object]
Report = Callable[[BaseEvent, Listener, Exception], None]

_HASHED_AS_COMPARED = (object, str, int, float, bytes, type, type(None), enum.Enum)
_HONEST = frozenset((kind.__eq__, kind.__hash__) for kind in _HASHED_AS_COMPARED)


class Plan:
    """Who hears the events of one class.

    Attributes:
        listeners: all of them, in order, before filters.
        calls: what an emit calls for each of them, in the same order.
        enabled: False where the class is disabled or the manager closed: nothing at all happens.
        heard: whether building such an event is worth it.
        is_plain: whether an emit is just a loop over `calls`.
        has_coroutines: whether some listener must be awaited.
    """

    __slots__ = ("_indexes", "_scanned", "calls", "enabled", "has_coroutines", "heard", "is_plain", "listeners")

    def __init__(
        self, listeners: Sequence[Listener], calls: Sequence[Call], *, enabled: bool, heard: bool, has_hooks: bool
    ) -> None:
        """Compile the plan for `listeners`, which are in order; `has_hooks` where an emit does more than call."""
        self.listeners = tuple(listeners)
        self.calls = tuple(calls)
        self.enabled = enabled
        self.heard = heard
        self.is_plain = not has_hooks and not any(listener.is_conditional for listener in listeners)
        self.has_coroutines = any(listener.is_coroutine for listener in listeners)
        self._indexes, self._scanned = _indexed(self.listeners)

    def matching(self, event: BaseEvent, report: Report) -> list[int]:
        """The positions of the listeners that accept the event; what a filter raises goes to `report`."""
        positions = list(self._scanned)
        for index in self._indexes:
            positions += index.candidates(event)
        if len(self._indexes) + bool(self._scanned) > 1:
            positions.sort()
        return [position for position in positions if _accepts(self.listeners[position], event, report)]

    def listener_of(self, call: Call) -> Listener:
        """The listener that `call` stands for."""
        return next(one for one, its_call in zip(self.listeners, self.calls, strict=True) if its_call is call)


class _Index:
    """The positions of the listeners whose filter names one attribute, by the value that they want."""

    __slots__ = ("_by_value", "_get", "_positions")

    def __init__(self, path: str, wanted: Iterable[tuple[int, Any]]) -> None:
        self._get = operator.attrgetter(path)
        self._by_value: defaultdict[Any, list[int]] = defaultdict(list)
        for position, value in wanted:
            self._by_value[value].append(position)
        self._positions = sorted(itertools.chain.from_iterable(self._by_value.values()))

    def candidates(self, event: BaseEvent) -> Sequence[int]:
        try:
            value = self._get(event)
        except AttributeError:
            return ()
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 (each listener's own check meets it again, and reports it)
            return self._positions
        if not _is_indexable(value):
            return self._positions
        return self._by_value.get(value, ())


def _accepts(listener: Listener, event: BaseEvent, report: Report) -> bool:
    if not listener.is_conditional:
        return True
    try:
        return listener.accepts(event)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 (filters and predicates are isolated as listeners are)
        report(event, listener, error)
        return False


def _is_indexable(value: object) -> bool:
    """Whether a dict look-up decides just as `is` or `==` would: nobody's own equality or hash has a say."""
    kind = type(value)
    return (kind.__eq__, kind.__hash__) in _HONEST


def _indexed(listeners: Sequence[Listener]) -> tuple[list[_Index], list[int]]:
    """The indexes, and the positions of the listeners that no index covers."""
    values = defaultdict(set)
    for path, value in _indexable_items(listeners):
        values[path].add(value)
    wanted: defaultdict[str, list[tuple[int, Any]]] = defaultdict(list)
    scanned = []
    for position, listener in enumerate(listeners):
        paths = [path for path, value in listener.filter.items() if _is_indexable(value)]
        if not paths:
            scanned.append(position)
            continue
        most_telling = max(paths, key=lambda path: len(values[path]))
        wanted[most_telling].append((position, listener.filter[most_telling]))
    return [_Index(path, items) for path, items in wanted.items()], scanned


def _indexable_items(listeners: Iterable[Listener]) -> Iterator[tuple[str, Any]]:
    for listener in listeners:
        for path, value in listener.filter.items():
            if _is_indexable(value):
                yield path, value
