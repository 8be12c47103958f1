"""A forked child neither does the parent's background work nor waits for it."""

from __future__ import annotations

import pytest

from tests.forking import FORKS, run_forking

IMPORTS = """
import atexit, io, os, signal, sys, threading
from encore_events import BaseEvent, EventManager
from encore_events import background
from encore_events.background import run_in_background
from encore_storage.subscribers.pump import Pump
from encore_storage.utils import tee
from tests.forking import *
"""


def run(program: str) -> list[str]:
    """Run a program that forks, and return the lines that it prints."""
    return run_forking(IMPORTS + program)


@pytest.mark.parametrize("kind", FORKS)
def test_child_leaves_queued_work_to_parent(kind: str) -> None:
    printed = run(
        f"""
done, busy, gate, parent = [], threading.Event(), threading.Event(), os.getpid()
def wait():
    busy.set()
    gate.wait()
run_in_background(wait)
busy.wait()
run_in_background(lambda: done.append(("queued", os.getpid() == parent)))
def work():
    ended = threading.Event()
    run_in_background(lambda: done.append(("own", os.getpid() == parent)))
    run_in_background(ended.set)
    return ended.wait(SECONDS), done
print(forked(work, FORKS[{kind!r}]))
gate.set()
until(lambda: done)
print(done)
"""
    )

    assert printed == ["(True, [('own', False)])", "[('queued', True)]"]


def test_child_forked_by_background_work_does_no_more_of_it() -> None:
    printed = run("""
read, write = os.pipe()
parent, children, ended = os.getpid(), [], threading.Event()
def fork_child():
    gate.wait()
    children.append(fork())
    if children[-1] == 0:
        signal.alarm(SECONDS)
gate = threading.Event()
run_in_background(fork_child)
run_in_background(lambda: os.write(write, b"parent " if os.getpid() == parent else b"child "))
run_in_background(ended.set)
gate.set()
ended.wait()
print(os.waitpid(children[0], 0)[1])
os.close(write)
print(os.read(read, 100).decode())
""")

    assert printed == ["0", "parent "]


@pytest.mark.parametrize("kind", FORKS)
def test_tee_in_child_returns_buffered_data_then_raises(kind: str) -> None:
    printed = run(
        f"""
gate, began = threading.Event(), threading.Event()
class Slow(io.BytesIO):
    def read(self, size):
        if self.tell():
            began.set()
            gate.wait()
        return super().read(size)
first, second = tee(Slow(b"12345678"), buffer_size=4)
first.read(4)
reader = threading.Thread(target=first.read)
reader.start()
began.wait()  # the reader holds the lock of the tee now
def work():
    head = second.read(4)
    try:
        second.read(4)
    except Exception as error:
        return head, [cls.__name__ for cls in type(error).__mro__[:3]], "open the source here" in str(error)
print(forked(work, FORKS[{kind!r}]))
gate.set()
reader.join()
print(second.read())
"""
    )

    assert printed == [
        "(b'1234', ['ForkedStoreError', 'StoreError', 'ForkedError'], True)",
        "b'12345678'",
    ]


PUMP = """
parent, manager, batches, ends = os.getpid(), EventManager(), [], []
busy, gate = threading.Event(), threading.Event()
def consume(batch):
    batches.append([event.number for _, event in batch])
    busy.set()
    gate.wait()
pump = Pump(manager.stream(BaseEvent), consume, interval=0.001, name="pump", at_end=lambda: ends.append(os.getpid()))
pump.start()
manager.emit(BaseEvent(number=1))
busy.wait()
manager.emit(BaseEvent(number=2))
"""


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("lock", ["pump._thread._over._cond", "pump._stopping._cond"])
def test_child_leaves_pump_to_parent(lock: str, kind: str) -> None:
    printed = run(
        PUMP
        + f"""
def work():
    manager.emit(BaseEvent(number=3))
    pump.stop()
    manager.close()
    return batches, ends, manager.has_listeners(BaseEvent)
with held({lock}):
    print(forked(work, FORKS[{kind!r}]))
gate.set()
pump.stop()
print(batches, ends == [parent])
"""
    )

    assert printed == ["([[1]], [], False)", "[[1], [2]] True"]


def test_exiting_child_consumes_nothing() -> None:
    printed = run(
        PUMP
        + """
pump._consume = lambda batch: os.write(1, b"consumed\\n" if os.getpid() != parent else b"")
if (child := fork()) == 0:
    signal.alarm(SECONDS)
    sys.exit(0)
print(os.waitpid(child, 0)[1])
gate.set()
"""
    )

    assert printed == ["0"]


def test_child_forked_by_consumer_consumes_no_more() -> None:
    printed = run("""
manager, read, write, children = EventManager(), *os.pipe(), []
def consume(batch):
    children.append(fork())
    os.write(write, b"parent " if children[-1] else b"child ")
    if children[-1] == 0:
        signal.alarm(SECONDS)
        manager.emit(BaseEvent())
pump = Pump(manager.stream(BaseEvent), consume, interval=0.001, name="pump", at_end=lambda: os.write(write, b"end "))
pump.start()
manager.emit(BaseEvent())
until(lambda: children)
print(os.waitpid(children[0], 0)[1])
pump.stop()
os.close(write)
print(sorted(os.read(read, 100).decode().split()))
""")

    assert printed == ["0", "['child', 'end', 'parent']"]
