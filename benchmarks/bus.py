"""The event manager compared with a bare loop and with other event libraries.

Both sides call the same N empty listeners with an existing event, unless the row says that the event is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import blinker
import psygnal
import pyee
from encore.events.api import BaseEvent as OldEvent
from encore.events.api import EventManager as OldEventManager

from benchmarks.harness import Bench, Snippet
from encore_events import BaseEvent, EventManager
from encore_storage.events import (
    StoreDeleteEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
    StoreUpdateEvent,
)

Listener = Callable[[object], None]
Pair = tuple[Snippet, Snippet]

SIZES = (1, 10, 100)
BARE_REACH = {1: 2.35, 10: 1.3, 100: 1.15}
IN_TURN_REACH = {1: 2.1, 10: 1.35, 100: 1.2}
BLINKER_REACH = {1: 0.14, 10: 0.12, 100: 0.12}
OLD_REACH = {1: 0.06, 10: 0.16, 100: 0.30}
EIGHT: tuple[type[BaseEvent], ...] = (
    *(StoreProgressStartEvent, StoreProgressStepEvent, StoreProgressEndEvent),
    *(StoreSetEvent, StoreUpdateEvent, StoreDeleteEvent, StoreTransactionStartEvent, StoreTransactionEndEvent),
)
SIX = "source=None, store='archive', key='reports', operation='get', bytes=4096, duration=0.5, outcome='ok'"


class Moved(BaseEvent):
    """An event of Encore."""

    key: int


class OldMoved(OldEvent):  # type: ignore[misc] # the predecessor has no types
    """The same event in the predecessor."""


def benches() -> Iterator[Bench]:
    """Yield the rows of the bus."""
    for size in SIZES:
        yield Bench(
            f"emit to {_plain(size)}, eight event classes in turn, against a bare loop",
            partial(in_turn, size),
            IN_TURN_REACH[size],
        )
    for size in SIZES:
        for kind, event in (("with an attribute", Moved(key=0)), ("without attributes", Moved())):
            yield Bench(
                f"emit to {_plain(size)}, one event class {kind}, against a bare loop",
                partial(bare_loop, size, event),
                BARE_REACH[size],
            )
    for size in SIZES:
        yield Bench(
            f"emit to {_plain(size)}, against blinker's Signal.send", partial(raw_blinker, size), BLINKER_REACH[size]
        )
    for size in SIZES:
        yield Bench(f"emit to {_plain(size)}, against encore 0.8.0", partial(old_manager, size), OLD_REACH[size])
    for size in SIZES:
        yield Bench(f"emit to {_plain(size)}, against psygnal", partial(raw_psygnal, size))
    for size in SIZES:
        yield Bench(f"emit to {_plain(size)}, against pyee", partial(raw_pyee, size))
    yield Bench("emit where 1 of 100 filtered listeners matches, against encore 0.8.0", filtered, 0.01)
    yield Bench("emit where 1 of 1,000 filtered listeners matches, against 1 of 100", more_filtered, 1.15)
    yield Bench(
        "has_listeners when nobody listens, against building and emitting an event in encore 0.8.0", nobody, 0.025
    )


def in_turn(size: int) -> Pair:
    """Compare emits of events of eight classes with calling the same listeners in a loop."""
    listeners, manager = _listeners(size), EventManager()
    for listener in listeners:
        manager.connect(BaseEvent, listener)
    events = [cls(key=0) for cls in EIGHT]
    return (
        Snippet("for event in events:\n    manager.emit(event)", units=8, manager=manager, events=events),
        Snippet(
            "for event in events:\n    for listener in listeners:\n        listener(event)",
            units=8,
            listeners=listeners,
            events=events,
        ),
    )


def bare_loop(size: int, event: Moved) -> Pair:
    """Compare emit with calling the listeners in a loop."""
    listeners = _listeners(size)
    return _ours(listeners, event), Snippet(
        "for listener in listeners:\n    listener(event)", listeners=listeners, event=event
    )


def raw_blinker(size: int) -> Pair:
    """Compare emit with a blinker signal whose sender is the event, the fastest way to pass one object."""
    listeners, event = _listeners(size), Moved(key=0)
    signal = blinker.Signal()
    for listener in listeners:
        signal.connect(listener)
    return _ours(listeners, event), Snippet("signal.send(event)", signal=signal, event=event)


def old_manager(size: int) -> Pair:
    """Compare emit with that of the predecessor."""
    listeners = _listeners(size)
    manager = OldEventManager()
    for listener in listeners:
        manager.connect(OldMoved, listener)
    return _ours(listeners, Moved(key=0)), _emit(manager, OldMoved(key=0))


def raw_psygnal(size: int) -> Pair:
    """Compare emit with a psygnal signal of one object."""
    listeners, event = _listeners(size), Moved(key=0)
    signal = psygnal.SignalInstance((object,))
    for listener in listeners:
        signal.connect(listener)
    return _ours(listeners, event), Snippet("signal.emit(event)", signal=signal, event=event)


def raw_pyee(size: int) -> Pair:
    """Compare emit with a pyee emitter with one name."""
    listeners, event = _listeners(size), Moved(key=0)
    emitter = pyee.EventEmitter()
    for listener in listeners:
        emitter.on("moved", listener)
    return _ours(listeners, event), Snippet("emitter.emit('moved', event)", emitter=emitter, event=event)


def filtered() -> Pair:
    """Compare emit to 100 listeners with different filters, of which one matches."""
    manager = OldEventManager()
    for key, listener in enumerate(_listeners(100)):
        manager.connect(OldMoved, listener, {"key": key})
    return _ours_filtered(100), _emit(manager, OldMoved(key=50))


def more_filtered() -> Pair:
    """Compare 1,000 filtered listeners with 100."""
    return _ours_filtered(1000), _ours_filtered(100)


def nobody() -> Pair:
    """Compare has_listeners with building an event of six attributes and emitting it without listeners."""
    ours = Snippet("manager.has_listeners(Moved)", manager=EventManager(), Moved=Moved)
    return ours, Snippet(f"manager.emit(OldMoved({SIX}))", manager=OldEventManager(), OldMoved=OldMoved)


def _plain(size: int) -> str:
    return f"{size} plain listener{'s' if size > 1 else ''}"


def _listeners(size: int) -> list[Listener]:
    return [_new_listener() for _ in range(size)]


def _new_listener() -> Listener:
    def listener(event: object) -> None:
        pass

    return listener


def _ours(listeners: list[Listener], event: Moved) -> Snippet:
    manager = EventManager()
    for listener in listeners:
        manager.connect(Moved, listener)
    return _emit(manager, event)


def _ours_filtered(size: int) -> Snippet:
    manager = EventManager()
    for key, listener in enumerate(_listeners(size)):
        manager.connect(Moved, listener, {"key": key})
    return _emit(manager, Moved(key=size // 2))


def _emit(manager: object, event: object) -> Snippet:
    return Snippet("manager.emit(event)", manager=manager, event=event)
