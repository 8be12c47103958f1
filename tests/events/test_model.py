"""Random calls of the bus, compared with a minimal model."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from encore_events import BaseEvent, EventManager, Hold


class Opened(BaseEvent):
    pass


class Reopened(Opened):
    pass


class Closed(BaseEvent):
    pass


class Swung(Reopened, Closed):
    pass


CLASSES = st.sampled_from([BaseEvent, Opened, Reopened, Closed, Swung])
NAMES = st.sampled_from(["a", "b", "c", "veto"])
FILTERS = st.dictionaries(st.sampled_from(["colour", "size"]), st.sampled_from(["red", 1, True, 2.0, [1]]), max_size=2)
Received = list[tuple[str, BaseEvent]]


class Box:
    """A listener that records its events; the one named 'veto' marks them as handled."""

    def __init__(self, name: str, received: Received) -> None:
        self.name = name
        self.received = received

    def receive(self, event: BaseEvent) -> None:
        self.received.append((self.name, event))
        if self.name == "veto":
            event.mark_as_handled()


@dataclass
class Connection:
    cls: type[BaseEvent]
    name: str
    filter: dict[str, Any]
    priority: int

    def wants(self, event: BaseEvent) -> bool:
        return isinstance(event, self.cls) and all(
            hasattr(event, name) and getattr(event, name) == value for name, value in self.filter.items()
        )


@dataclass
class Model:
    """The connections in order, the disabled classes and the holds."""

    connections: list[Connection] = field(default_factory=list)
    disabled: list[type[BaseEvent]] = field(default_factory=list)
    blocks: list[type[BaseEvent]] = field(default_factory=list)
    holds: list[tuple[Connection, list[BaseEvent]]] = field(default_factory=list)
    handled: list[BaseEvent] = field(default_factory=list)

    def connect(self, connection: Connection) -> None:
        self.disconnect(connection.cls, connection.name)
        self.connections.append(connection)

    def disconnect(self, cls: type[BaseEvent], name: str) -> bool:
        before = len(self.connections)
        self.connections = [one for one in self.connections if (one.cls, one.name) != (cls, name)]
        return len(self.connections) < before

    def emit(self, event: BaseEvent) -> Received:
        for hold, queue in reversed(self.holds):
            if hold.wants(event):
                queue.append(event)
                return []
        if isinstance(event, tuple(self.disabled + self.blocks)) or event in self.handled:
            return []
        names = [one.name for one in sorted(self.connections, key=lambda one: -one.priority) if one.wants(event)]
        if "veto" in names:
            self.handled.append(event)
            names = names[: names.index("veto") + 1]
        return [(name, event) for name in names]

    def release(self, number: int) -> Received:
        _, queue = self.holds.pop(number)
        return [received for event in queue for received in self.emit(event)]

    def has_listeners(self, cls: type[BaseEvent]) -> bool:
        silent = issubclass(cls, tuple(self.disabled + self.blocks))
        received = not silent and any(issubclass(cls, one.cls) for one in self.connections)
        return received or any(issubclass(cls, hold.cls) for hold, _ in self.holds)


class Bus(RuleBasedStateMachine):
    """Applies each rule to both the bus and the model, and compares the received events."""

    @initialize()
    def begin(self) -> None:
        self.manager = EventManager()
        self.model = Model()
        self.received: Received = []
        self.boxes = {name: Box(name, self.received) for name in ("a", "b", "c", "veto")}
        self.held: list[Hold] = []
        self.blocks = ExitStack()
        self.emitted: list[BaseEvent] = []

    @rule(cls=CLASSES, name=NAMES, wanted=FILTERS, priority=st.integers(-1, 1))
    def connect(self, cls: type[BaseEvent], name: str, wanted: dict[str, Any], priority: int) -> None:
        self.manager.connect(cls, self.boxes[name].receive, wanted, priority)
        self.model.connect(Connection(cls, name, wanted, priority))

    @rule(cls=CLASSES, name=NAMES)
    def disconnect(self, cls: type[BaseEvent], name: str) -> None:
        if self.model.disconnect(cls, name):
            self.manager.disconnect(cls, self.boxes[name].receive)
            return
        with pytest.raises(KeyError):
            self.manager.disconnect(cls, self.boxes[name].receive)

    @rule(name=NAMES)
    def collect(self, name: str) -> None:
        self.boxes[name] = Box(name, self.received)
        self.model.connections = [one for one in self.model.connections if one.name != name]

    @rule(cls=CLASSES, attributes=FILTERS)
    def emit(self, cls: type[BaseEvent], attributes: dict[str, Any]) -> None:
        event = cls(**attributes)
        self.emitted.append(event)
        self.manager.emit(event)
        self.check(self.model.emit(event))

    @precondition(lambda self: self.emitted)
    @rule(number=st.integers(0))
    def emit_again(self, number: int) -> None:
        event = self.emitted[number % len(self.emitted)]
        self.manager.emit(event)
        self.check(self.model.emit(event))

    @rule(cls=CLASSES)
    def disable(self, cls: type[BaseEvent]) -> None:
        self.manager.disable(cls)
        self.model.disabled.append(cls)

    @rule(cls=CLASSES)
    def enable(self, cls: type[BaseEvent]) -> None:
        self.manager.enable(cls)
        self.model.disabled = [one for one in self.model.disabled if one is not cls]

    @rule(cls=CLASSES)
    def begin_disabled_block(self, cls: type[BaseEvent]) -> None:
        self.blocks.enter_context(self.manager.disabled(cls))
        self.model.blocks.append(cls)

    @rule()
    def end_disabled_blocks(self) -> None:
        self.blocks.close()
        self.model.blocks.clear()

    @rule(cls=CLASSES, wanted=FILTERS)
    def hold(self, cls: type[BaseEvent], wanted: dict[str, Any]) -> None:
        self.held.append(self.manager.hold(cls, wanted).__enter__())
        self.model.holds.append((Connection(cls, "hold", wanted, 0), []))

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0))
    def release(self, number: int) -> None:
        number %= len(self.held)
        self.held.pop(number).release()
        self.check(self.model.release(number))

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0))
    def discard(self, number: int) -> None:
        number %= len(self.held)
        self.held.pop(number).discard()
        self.model.holds.pop(number)

    def check(self, expected: Received) -> None:
        assert self.received == expected
        self.received.clear()

    @invariant()
    def the_bus_says_of_itself_what_the_model_does(self) -> None:
        for cls in (BaseEvent, Opened, Reopened, Closed, Swung):
            assert self.manager.has_listeners(cls) == self.model.has_listeners(cls)
            ordered = sorted(self.model.connections, key=lambda one: -one.priority)
            names = [one.name for one in ordered if issubclass(cls, one.cls)]
            assert self.manager.get_listeners(cls) == [self.boxes[name].receive for name in names]


TestBus = Bus.TestCase
TestBus.settings = settings(max_examples=60, stateful_step_count=40)
