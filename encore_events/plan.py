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

from encore_events.events import BaseEvent, check_event
from encore_events.listeners import Listener

Call = Callable[[Any], object]
Choose = Callable[[BaseEvent, "DispatchPlan"], Sequence[Call]]
Report = Callable[[BaseEvent, Listener, Exception], None]

_ANYTHING = object()  # what a listener without a filter wants

_HASHED_AS_COMPARED = (object, str, int, float, bytes, type, type(None), enum.Enum)
_HONEST = frozenset((kind.__eq__, kind.__hash__) for kind in _HASHED_AS_COMPARED)


class DispatchPlan:
    """Who hears the events of one class.

    Attributes:
        listeners: all of them, in order, before filters.
        calls: what an emit calls for each of them, in the same order.
        plain: the calls, where every event goes to all of them; else empty, and it is for `choose` to say.
        choose: of an event and this plan, gives the calls; where there is more to do, does it all and gives none.
        enabled: False where the class is disabled or the manager closed: nothing at all happens.
        has_listeners: whether building such an event is worth it.
        has_hooks: whether an emit has more to do than to call listeners.
        has_coroutines: whether some listener must be awaited.
    """

    __slots__ = (
        "_indexes",
        "_scanned",
        "calls",
        "choose",
        "enabled",
        "has_coroutines",
        "has_hooks",
        "has_listeners",
        "listeners",
        "plain",
    )

    def __init__(
        self,
        listeners: Sequence[Listener],
        calls: Sequence[Call],
        *,
        enabled: bool,
        has_listeners: bool,
        has_hooks: bool,
        run: Choose,
    ) -> None:
        """Compile the plan for `listeners`, which are in order.

        Where it `has_hooks` or many things decide who is called, an emit is left to `run`.
        """
        self.listeners = tuple(listeners)
        self.calls = tuple(calls)
        self.enabled = enabled
        self.has_listeners = has_listeners
        self.has_hooks = has_hooks
        self.has_coroutines = any(listener.is_coroutine for listener in listeners)
        self._indexes, self._scanned = _indexed(self.listeners)
        is_plain = not has_hooks and not any(listener.is_conditional for listener in listeners)
        self.plain = self.calls if is_plain else ()
        self.choose = run if has_hooks else _chooser(self.listeners, self.calls, run)

    def matching(self, event: BaseEvent, report: Report) -> list[int]:
        """The positions of the listeners that accept the event; what a filter raises goes to `report`."""
        positions = list(self._scanned)
        for index in self._indexes:
            positions += index.candidates(event)
        if len(self._indexes) + bool(self._scanned) > 1:
            positions.sort()
        return [position for position in positions if is_accepted(self.listeners[position], event, report)]

    def accepted(self, event: BaseEvent, report: Report) -> tuple[Call, ...]:
        """Return the calls of the listeners that accept the event, in order."""
        return tuple(self.calls[position] for position in self.matching(event, report))

    def listener_of(self, call: Call) -> Listener:
        """The listener that `call` stands for."""
        return next(one for one, its_call in zip(self.listeners, self.calls, strict=True) if its_call is call)


def _nobody(event: BaseEvent, _plan: DispatchPlan) -> tuple[()]:
    """Choose where there is nothing to choose from."""
    check_event(event)
    return ()


def _chooser(listeners: Sequence[Listener], calls: Sequence[Call], run: Choose) -> Choose:
    """A look-up, if each listener wants no more than one value of one and the same attribute; else `run`."""
    if not calls:
        return _nobody
    paths = {path for listener in listeners for path in listener.filter}
    if len(paths) != 1 or any(listener.has_predicate for listener in listeners):
        return run
    (path,) = paths
    wanted = [listener.filter.get(path, _ANYTHING) for listener in listeners]
    return _look_up(path, wanted, calls, run) if all(map(_is_indexable, wanted)) else run


def _look_up(path: str, wanted: Sequence[Any], calls: Sequence[Call], run: Choose) -> Choose:
    get = operator.attrgetter(path)
    known = frozenset(wanted)
    made: dict[Any, Sequence[Call]] = {}
    honest: dict[type, bool] = {}

    def calls_for(value: object) -> Sequence[Call]:
        pairs = zip(calls, wanted, strict=True)
        return tuple(call for call, other in pairs if other is _ANYTHING or other is value or other == value)

    rest = calls_for(object())

    def choose(event: BaseEvent, plan: DispatchPlan) -> Sequence[Call]:
        try:
            value = get(event)
        except AttributeError:
            check_event(event)
            return rest
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 (the listeners' own checks meet it again, and report it)
            return run(event, plan)
        kind = type(value)
        if kind not in honest:
            honest[kind] = _is_indexable(value)
        if not honest[kind]:
            return run(event, plan)
        if value not in made and value in known:
            made[value] = calls_for(value)
        return made.get(value, rest) or _nobody(event, plan)

    return choose


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


def is_accepted(listener: Listener, event: BaseEvent, report: Report) -> bool:
    """Whether the listener's filter and predicate let the event pass; what they raise goes to `report`."""
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
        most_selective = max(paths, key=lambda path: len(values[path]))
        wanted[most_selective].append((position, listener.filter[most_selective]))
    return [_Index(path, items) for path, items in wanted.items()], scanned


def _indexable_items(listeners: Iterable[Listener]) -> Iterator[tuple[str, Any]]:
    for listener in listeners:
        for path, value in listener.filter.items():
            if _is_indexable(value):
                yield path, value
