"""The code that holds a stream's lock."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager, EventStream, buffer
from tests.events.stepping import steps_of
from tests.forking import run_forking

SWITCHES = (
    ast.AsyncFor,
    ast.AsyncWith,
    ast.Await,
    ast.Call,
    ast.Dict,
    ast.DictComp,
    ast.For,
    ast.GeneratorExp,
    ast.JoinedStr,
    ast.Lambda,
    ast.List,
    ast.ListComp,
    ast.Raise,
    ast.Set,
    ast.SetComp,
    ast.Tuple,
    ast.While,
    ast.Yield,
    ast.YieldFrom,
)
"""Where the interpreter may switch threads, handle a signal, or collect garbage."""


class Opened(BaseEvent):
    number: int


def sections() -> list[ast.With]:
    """Return the blocks of the buffer that hold its lock."""
    found = [node for node in ast.walk(ast.parse(inspect.getsource(buffer))) if isinstance(node, ast.With)]
    assert all(ast.unparse(node.items[0].context_expr) == "self._lock" for node in found)
    return found


def test_nothing_is_called_while_the_lock_is_held() -> None:
    switching = [
        ast.unparse(node)
        for section in sections()
        for statement in section.body
        for node in ast.walk(statement)
        if isinstance(node, SWITCHES)
    ]

    assert switching == []
    assert len(sections()) >= 5


class Scene:
    """A full stream whose emitters wait for a reader."""

    def __init__(self) -> None:
        self.manager = EventManager()
        self.stream: EventStream[Any] = self.manager.stream(Opened, capacity=1, policy="block")
        self.emit()

    def emit(self) -> None:
        self.manager.emit(Opened(number=0))

    def emit_if_busy(self) -> None:
        if self.stream._buffer._is_busy:
            self.stream._buffer._reader = object()  # another thread has begun to read
            self.emit()

    def get(self) -> None:
        self.stream.get(0)


@pytest.mark.usefixtures("stepped")
def test_emitter_does_not_wait_while_its_thread_holds_the_lock() -> None:
    lengths = set()
    for step in steps_of(Scene.emit_if_busy, at_least=20):
        scene = Scene()
        step.within(Scene.get, scene)
        lengths.add(len(scene.stream))

    assert lengths == {0, 1}


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest"])
def test_lock_held_at_a_fork_is_free_in_the_child(policy: str) -> None:
    printed = run_forking(f"""
from encore_events import *
from tests.forking import *
class Opened(BaseEvent): pass
manager = EventManager()
opened, closed = (manager.stream(Opened, policy={policy!r}, capacity=2) for _ in range(2))
manager.emit(Opened(number=1))
closed.close()
def work():
    for number in range(5): manager.emit(Opened(number=number))
    opened.close()
    return [event.number for event in closed]
with held(opened._buffer._lock), held(closed._buffer._lock):
    print(forked(work))
print(len(opened), len(closed))
""")

    assert printed == ["[1]", "1 1"]


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest"])
def test_signal_handler_that_emits_and_reads_loses_no_event(child: Callable[[str], str], policy: str) -> None:
    printed = child(f"""
import itertools, signal
from encore_events import *
class Opened(BaseEvent): pass
manager = EventManager()
recorded, read, handled = [], [], itertools.count()
manager.connect(EventsDroppedEvent, recorded.append)
stream = manager.stream(Opened, capacity=2, policy={policy!r})
emitted = itertools.count()
def emit():
    next(emitted)
    manager.emit(Opened())
def handle(number, frame):
    next(handled)
    emit()
    read.append(stream.get(0))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
for _ in range(5000):
    emit(), emit()
    read.append(stream.get(0))
signal.setitimer(signal.ITIMER_REAL, 0)
stream.close()
read += stream
dropped = sum(event.count for event in read if isinstance(event, EventsDroppedEvent))
assert next(handled) > 20
print(next(emitted) - sum(isinstance(event, Opened) for event in read) - dropped)
print(dropped - stream.dropped, sum(event.count for event in recorded) - dropped)
""")

    assert printed == "0\n0 0\n"
