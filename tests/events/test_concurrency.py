"""Exact counts and no deadlocks under threads, garbage collections and forks."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from encore_events import BaseEvent, EmitHandle, EventManager

SECONDS = 2.0


class Opened(BaseEvent):
    owner: int


class Closed(Opened):
    pass


@pytest.fixture(autouse=True)
def _frequent_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_together(*funcs: Callable[[], None]) -> None:
    """Call each function in its own thread, all at once; raise the errors."""
    together = threading.Barrier(len(funcs))

    def run(func: Callable[[], None]) -> None:
        together.wait(10)
        func()

    threads = [threading.Thread(target=run, args=(func,), daemon=True) for func in funcs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a deadlock"


class Busy:
    """Connects, emits and disconnects; counts the events received and expected."""

    def __init__(self, manager: EventManager, number: int) -> None:
        self.manager = manager
        self.number = number
        self.emitted = 0
        self.expected = 0
        self.received: Counter[str] = Counter()

    def receive(self, event: Opened) -> None:
        if event.owner == self.number:
            self.received["method"] += 1

    def receive_filtered(self, event: Opened) -> None:
        assert event.owner == self.number
        self.received["filtered"] += 1

    def run(self) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.manager.connect(Opened, self.receive)
            with self.manager.connect(Closed, self.receive_filtered, {"owner": self.number}, self.number):
                self.emit(Closed(owner=self.number), 1)
                self.manager.connect(Opened, self.receive)
                self.emit(Closed(owner=self.number), 1)
            self.manager.disconnect(Opened, self.receive)
            self.emit(Closed(owner=self.number), 0)

    def emit(self, event: Opened, expected: int) -> None:
        self.manager.emit(event)
        self.emitted += 1
        self.expected += expected
        assert self.received == Counter(method=self.expected, filtered=self.expected)


def test_threads_that_connect_emit_and_disconnect_receive_exact_counts(manager: EventManager) -> None:
    busy = [Busy(manager, number) for number in range(2)]
    received: Counter[int] = Counter()
    manager.connect(Opened, lambda event: received.update((event.owner,)), {"owner": 0})
    manager.connect(Opened, lambda event: received.update((event.owner,)), {"owner": 1})

    run_together(*(one.run for one in busy))

    assert received == {one.number: one.emitted for one in busy}
    assert min(one.emitted for one in busy) > 100
    assert repr(manager) == "<EventManager: 2 listeners>"


def test_listener_reconnected_by_two_threads_receives_each_event_once(manager: EventManager) -> None:
    received: list[BaseEvent] = []
    manager.connect(Opened, received.append)

    def reconnect() -> None:
        for _ in range(1000):
            manager.connect(Opened, received.append)

    def emit() -> None:
        for number in range(1000):
            manager.emit(Opened(owner=number))
            assert len(received) == number + 1

    run_together(reconnect, reconnect, emit)

    manager.disconnect(Opened, received.append)
    manager.emit(Opened())
    assert len(received) == 1000


def test_events_of_each_emitter_arrive_in_its_order(manager: EventManager) -> None:
    received: list[Opened] = []
    manager.connect(Opened, received.append)

    def emit_as(owner: int) -> Callable[[], None]:
        def emit() -> None:
            for number in range(500):
                manager.emit(Opened(owner=owner, number=number), block=False)

        return emit

    run_together(*(emit_as(owner) for owner in range(4)))
    manager.close()

    for owner in range(4):
        assert [vars(event)["number"] for event in received if event.owner == owner] == list(range(500))


def test_emit_during_close_leaves_no_handle_waiting() -> None:
    for _ in range(30):
        manager = EventManager()
        handles: list[EmitHandle | None] = []

        def emit(manager: EventManager = manager, handles: list[EmitHandle | None] = handles) -> None:
            handles.extend(manager.emit(Opened(), block=False) for _ in range(20))

        run_together(emit, manager.close, emit, manager.close)

        assert all(handle is not None and handle.join(10) for handle in handles)


def test_garbage_collections_neither_deadlock_nor_lose_events(
    untraced_child: Callable[[str], str],
) -> None:
    printed = untraced_child("""
import contextlib, gc, itertools, threading, time
from encore_events import *

class Opened(BaseEvent): pass
class Closed(BaseEvent): pass

manager = EventManager()
foreign = threading.RLock()
emitted, received, died = itertools.count(), itertools.count(), itertools.count()

def emit(block=True):
    next(emitted)
    manager.emit(Closed(), block)

class Listener:
    def __init__(self):
        self.itself = self
        manager.connect(Opened, self.receive)
        self.subscription = manager.connect(Closed, self.receive, {"colour": "red"})
    def receive(self, event):
        pass
    def __del__(self):
        next(died)
        with foreign:
            emit()
            emit(block=False)
            self.subscription.disconnect()
            with contextlib.suppress(KeyError):
                manager.disconnect(Opened, self.receive)

def connect_under_the_foreign_lock():
    while time.monotonic() < end:
        with foreign, manager.connect(Opened, lambda event: None):
            Listener()

def work():
    while time.monotonic() < end:
        Listener()
        manager.emit(Opened())
        with manager.hold(Closed) as held:
            emit()
            held.release()
        with manager.disabled(Opened):
            manager.has_listeners(Opened)
        emit(block=False)

manager.connect(Closed, lambda event: next(received))
end = time.monotonic() + 1
threads = [threading.Thread(target=work) for work in (connect_under_the_foreign_lock, work, work)]
gc.set_threshold(1)
for thread in threads: thread.start()
for thread in threads: thread.join()
gc.disable()
manager.emit(Opened(), block=False).join()  # after it, no garbage collection runs in the worker
gc.collect()
print(manager)
manager.close()
assert next(died) > 20
print(next(emitted) - next(received))
""")

    assert printed == "<EventManager: 1 listener>\n0\n"


def test_child_forked_during_connect_can_use_the_manager(
    untraced_child: Callable[[str], str],
) -> None:
    printed = untraced_child("""
import os, signal, threading, warnings
from encore_events import *
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested

class Pausing(type):
    step = None
    def __hash__(cls):
        if threading.current_thread() is connecting:
            cls.step -= 1
            if cls.step == 0:
                paused.set()
                go_on.wait(20)
        return 7

connecting = None
class Opened(BaseEvent, metaclass=Pausing): pass

def use():
    received = []
    manager.connect(Opened, received.append, priority=1)
    manager.emit(Opened())
    manager.emit(Opened(), block=False).join()
    manager.connect(Opened, unpaused)
    manager.disconnect(Opened, received.append)
    manager.emit(Opened())
    assert len(received) == 2, received
    manager.disconnect(Opened, unpaused)

def unpaused(event): pass
def listener(event): pass

for step in range(1, 9):
    manager = EventManager()
    manager.connect(Opened, listener)
    paused, go_on = threading.Event(), threading.Event()
    connecting = threading.Thread(target=lambda: (manager.connect(Opened, listener), paused.set()))
    Pausing.step = Opened.step = step
    connecting.start()
    paused.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        use()
        os._exit(0)
    print(os.waitpid(pid, 0)[1])
    use()
    go_on.set()
    connecting.join()
    manager.close()
""")

    assert printed.split() == ["0"] * 8


def test_child_forked_at_any_moment_can_use_the_manager(untraced_child: Callable[[str], str]) -> None:
    printed = untraced_child("""
import os, signal, sys, threading, warnings
from encore_events import *
warnings.simplefilter("ignore", DeprecationWarning)  # as above
sys.setswitchinterval(1e-5)
manager = EventManager()
done = threading.Event()

def work():
    while not done.is_set():
        with manager.connect(BaseEvent, lambda event: None):
            manager.emit(BaseEvent(), block=False)

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        received = []
        with manager.connect(BaseEvent, received.append):
            manager.emit(BaseEvent())
            manager.emit(BaseEvent(), block=False).join()
        manager.emit(BaseEvent())
        os._exit(len(received) != 2)
    print(os.waitpid(pid, 0)[1])
done.set()
for thread in threads: thread.join()
""")

    assert printed.split() == ["0"] * 30
