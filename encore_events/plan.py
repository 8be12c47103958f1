"""The compiled dispatch plan of an event class: its listeners in order, and how to choose among them.

A plan is immutable. The first emit after a connect, disconnect, collection, enable or disable makes it; the next such
change discards it. Equality filters on the same attribute share one dict look-up, so 1 matching listener of 1,000
costs what 1 of 10 costs.
"""

from __future__ import annotations

import enum
import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from encore_events.events import BaseEvent, ListenerErrorEvent, check_event
from encore_events.listeners import Listener, identity_of
from encore_events.pending import Call
from encore_events.recursion import dispatches, recurses

Choose = Callable[[BaseEvent, "DispatchPlan"], Sequence[Call]]
Report = Callable[[BaseEvent, object, Exception], None]
"""Takes an event, the function of a listener, and the error that it, its filter or its predicate raised."""

_ANYTHING = object()  # the wanted value of a listener without a filter

_BUILTINS = (object, str, int, float, bytes, type, type(None), enum.Enum)
_BUILTIN_COMPARISONS = frozenset((kind.__eq__, kind.__hash__) for kind in _BUILTINS)


class DispatchPlan:
    """The dispatch plan of one event class.

    Attributes:
        listeners: all listeners, in order, before filters; of a disabled class, those of unheard events.
        calls: what an emit calls for each of them, in the same order.
        plain: the calls if every event reaches all listeners, otherwise empty.
        choose: returns the calls for an event and this plan. It may do all the work itself and return none.
        enabled: False if the class is disabled or the manager closed.
        has_listeners: whether it is worth building such an event.
        has_hooks: whether an emit does more than call listeners. A ListenerErrorEvent has to skip the one that failed.
        has_coroutines: whether a listener must be awaited.
    """

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
        """Compile the plan. `run` handles events with hooks, and filters too complex for a look-up."""
        self.listeners = tuple(listeners)
        self.calls = tuple(calls)
        self.enabled = enabled
        self.has_listeners = has_listeners
        self.has_hooks = has_hooks
        self.has_coroutines = any(listener.is_coroutine for listener in listeners)
        self._indexes, self._scanned = _indexed(self.listeners)
        is_plain = not has_hooks and all(listener.condition.is_none for listener in listeners)
        self.plain = self.calls if is_plain else ()
        self.choose = run if has_hooks else _chooser(self.listeners, self.calls, run)

    def matching(self, event: BaseEvent, report: Report) -> list[int]:
        """Return the positions of the listeners that accept the event; `report` gets the errors of filters."""
        positions = list(self._scanned)
        for index in self._indexes:
            positions += index.candidates(event)
        if len(self._indexes) + bool(self._scanned) > 1:
            positions.sort()
        if self.has_hooks and isinstance(event, ListenerErrorEvent):
            failed = identity_of(event.listener)  # type: ignore[arg-type]  # it was connected
            positions = [position for position in positions if self.listeners[position].identity != failed]
        return [position for position in positions if is_accepted(self.listeners[position], event, report)]

    def func_of(self, call: Call) -> object:
        """Return the function whose call is `call`; if an older plan made it, `call` itself."""
        pairs = zip(self.listeners, self.calls, strict=True)
        return next((listener.func for listener, its_call in pairs if its_call is call), call)


def _choose_none(event: BaseEvent, _plan: DispatchPlan) -> tuple[()]:
    check_event(event)
    return ()


def _chooser(listeners: Sequence[Listener], calls: Sequence[Call], run: Choose) -> Choose:
    """Return a look-up if all filters want one value of the same attribute and no more, otherwise `run`."""
    if not calls:
        return _choose_none
    paths = {path for listener in listeners for path in listener.condition.filter}
    if len(paths) != 1 or any(listener.condition.where is not None for listener in listeners):
        return run
    (path,) = paths
    wanted = [listener.condition.filter.get(path, _ANYTHING) for listener in listeners]
    return _look_up(path, wanted, calls, run) if all(map(_is_indexable, wanted)) else run


def _look_up(path: str, wanted: Sequence[Any], calls: Sequence[Call], run: Choose) -> Choose:
    get = operator.attrgetter(path)
    known = frozenset(wanted)
    calls_by_value: dict[Any, Sequence[Call]] = {}
    indexable: dict[type, bool] = {}

    def calls_for(value: object) -> Sequence[Call]:
        pairs = zip(calls, wanted, strict=True)
        return tuple(call for call, other in pairs if other is _ANYTHING or other is value or other == value)

    calls_for_others = calls_for(object())

    def choose(event: BaseEvent, plan: DispatchPlan) -> Sequence[Call]:
        try:
            value = get(event)
        except AttributeError:
            check_event(event)
            return calls_for_others
        except Exception:  # noqa: BLE001 (each listener's own check raises it again, and reports it)
            return run(event, plan)
        kind = type(value)
        if kind not in indexable:
            indexable[kind] = _is_indexable(value)
        if not indexable[kind]:
            return run(event, plan)
        if value not in calls_by_value and value in known:
            calls_by_value[value] = calls_for(value)
        return calls_by_value.get(value, calls_for_others) or _choose_none(event, plan)

    return choose


class _Index:
    """The positions of the listeners that filter by one attribute, by the value that they want."""

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
        except Exception:  # noqa: BLE001 (each listener's own check raises it again, and reports it)
            return self._positions
        if not _is_indexable(value):
            return self._positions
        return self._by_value.get(value, ())


@dispatches
def is_accepted(listener: Listener, event: BaseEvent, report: Report) -> bool:
    """Return whether the listener accepts the event; `report` gets the errors of its filter and predicate."""
    if listener.condition.is_none:
        return True
    try:
        return listener.condition.accepts(event)
    except Exception as error:
        if recurses(error):
            raise
        report(event, listener.func, error)
        return False


def _is_indexable(value: object) -> bool:
    """Return whether a dict look-up decides as `is` or `==` would: its class defines neither equality nor hash."""
    kind = type(value)
    return (kind.__eq__, kind.__hash__) in _BUILTIN_COMPARISONS


def _indexed(listeners: Sequence[Listener]) -> tuple[list[_Index], list[int]]:
    """Return the indexes, and the positions of the listeners that none of them covers."""
    values = defaultdict(set)
    for listener in listeners:
        for path, value in listener.condition.filter.items():
            if _is_indexable(value):
                values[path].add(value)
    wanted: defaultdict[str, list[tuple[int, Any]]] = defaultdict(list)
    scanned = []
    for position, listener in enumerate(listeners):
        paths = [path for path, value in listener.condition.filter.items() if _is_indexable(value)]
        if not paths:
            scanned.append(position)
            continue
        most_selective = max(paths, key=lambda path: len(values[path]))
        wanted[most_selective].append((position, listener.condition.filter[most_selective]))
    return [_Index(path, items) for path, items in wanted.items()], scanned
