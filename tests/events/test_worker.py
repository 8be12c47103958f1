"""The worker behind emit(block=False)."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events import BaseEvent, EmitHandle, EventManager
from encore_events.worker import CAPACITY, Worker

who = contextvars.ContextVar("who", default="nobody")


class Opened(BaseEvent):
    number: int


class Closed(BaseEvent):
    pass


class Gate:
    """A listener that signals its call and blocks until opened."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.open = threading.Event()

    def __call__(self, event: object = None) -> None:
        self.came.set()
        assert self.open.wait(10)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def _stack_too_large() -> Iterator[None]:
    before = threading.stack_size(1 << 46)
    yield
    threading.stack_size(before)


@contextlib.contextmanager
def collecting_in(func: Any, interrupt: Callable[[], object]) -> Iterator[None]:
    """Call `interrupt` once, in a garbage collection, while `func` runs."""
    interrupts = [interrupt]

    def collect(phase: str, info: dict[str, int]) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and frame.f_code is not func.__code__:
            frame = frame.f_back
        if interrupts and frame.f_code is func.__code__:
            interrupts.pop()()

    threshold = gc.get_threshold()
    gc.callbacks.append(collect)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collect)


def working() -> int:
    """Return the number of workers that were not stopped."""
    gc.collect()
    return sum(isinstance(one, Worker) and not one._stopped for one in gc.get_objects())


def emitted(manager: EventManager, event: BaseEvent) -> EmitHandle:
    handle = manager.emit(event, block=False)
    assert handle is not None
    return handle


def test_events_arrive_in_emit_order_in_one_thread(manager: EventManager) -> None:
    received: list[int] = []
    threads: set[int] = set()
    manager.connect(Opened, lambda event: received.append(event.number))
    manager.connect(Opened, lambda event: threads.add(threading.get_ident()))

    handles = [emitted(manager, Opened(number=number)) for number in range(200)]

    assert handles[-1].join(10)
    assert received == list(range(200))
    assert len(threads - {threading.get_ident()}) == len(threads) == 1


def test_emitter_does_not_wait_and_handle_reports_completion(manager: EventManager, gate: Gate) -> None:
    manager.connect(Opened, gate)

    handle = emitted(manager, Opened())

    assert gate.came.wait(10)
    assert not handle.done()
    assert not handle.join(0.001)
    assert not handle.join(-1)
    assert repr(handle) == "<EmitHandle: waiting>"
    gate.open.set()
    assert handle.join()
    assert handle.join(0)
    assert handle.done()
    assert repr(handle) == "<EmitHandle: done>"


def test_several_threads_can_join_one_handle(manager: EventManager, gate: Gate) -> None:
    manager.connect(Opened, gate)
    handle = emitted(manager, Opened())
    joined: list[bool] = []
    waiters = [threading.Thread(target=lambda: joined.append(handle.join(10))) for _ in range(4)]

    for waiter in waiters:
        waiter.start()
    gate.open.set()
    for waiter in waiters:
        waiter.join(10)

    assert joined == [True] * 4


def test_context_of_the_emitter_is_used(manager: EventManager) -> None:
    received: list[str] = []
    manager.connect(Opened, lambda event: received.append(who.get()))
    manager.connect(Opened, lambda event: who.set("a listener"))

    def emit_as(name: str) -> EmitHandle:
        who.set(name)
        return emitted(manager, Opened())

    for name in ("me", "you"):
        contextvars.copy_context().run(emit_as, name)
    handle = emitted(manager, Opened())

    assert handle.join(10)
    assert received == ["me", "you", "nobody"]


def test_full_queue_blocks_the_emitter_and_drops_nothing(manager: EventManager, gate: Gate) -> None:
    received: list[BaseEvent] = []
    manager.connect(Closed, gate)
    manager.connect(Opened, received.append)
    emitted(manager, Closed())
    assert gate.came.wait(10)
    for _ in range(CAPACITY):
        emitted(manager, Opened())
    through = threading.Event()

    def emit_one_more() -> None:
        manager.emit(Opened(), block=False)
        through.set()

    emitter = threading.Thread(target=emit_one_more)
    emitter.start()

    assert not through.wait(0.05)
    gate.open.set()
    assert through.wait(10)
    emitter.join(10)
    manager.close()
    assert len(received) == CAPACITY + 1


def test_emit_on_the_worker_dispatches_at_once(manager: EventManager) -> None:
    received: list[str] = []

    def reopen(event: Opened) -> None:
        received.append("before")
        assert emitted(manager, Closed()).done()
        received.append("after")

    manager.connect(Opened, reopen)
    manager.connect(Closed, lambda event: received.append("closed"))

    handles = [emitted(manager, Opened()), emitted(manager, Closed())]

    assert handles[-1].join(10)
    assert received == ["before", "closed", "after", "closed"]


def test_full_queue_cannot_block_the_worker(manager: EventManager, gate: Gate) -> None:
    received: list[BaseEvent] = []
    manager.connect(Closed, gate)
    manager.connect(Closed, lambda event: manager.emit(Opened(), block=False))
    manager.connect(Opened, received.append)
    first = emitted(manager, Closed())
    assert gate.came.wait(10)
    for _ in range(CAPACITY):
        emitted(manager, Opened())

    gate.open.set()

    assert first.join(10)


def test_coroutine_listeners_run_to_their_end(manager: EventManager) -> None:
    received: list[str] = []

    async def listen(event: BaseEvent) -> None:
        await asyncio.sleep(0.001)
        received.append(f"listen as {who.get()}")

    async def emit_more(event: BaseEvent) -> None:
        manager.emit(Closed())
        manager.emit(Closed(), block=False)

    manager.connect(Opened, listen)
    manager.connect(Opened, emit_more)
    manager.connect(Opened, lambda event: received.append("plain"))
    manager.connect(Closed, listen)
    who.set("me")

    handle = emitted(manager, Opened())

    assert handle.join(10)
    assert received == ["listen as me", "plain", "listen as me", "listen as me"]
    who.set("nobody")


def test_failing_listener_is_isolated_on_the_worker() -> None:
    reported: list[object] = []
    received: list[BaseEvent] = []
    manager = EventManager(on_error=lambda event, listener, error: reported.append(error))

    def fail(event: BaseEvent) -> None:
        raise OSError("fail")

    manager.connect(Opened, fail)
    manager.connect(Opened, received.append)
    manager.emit(Opened(), block=False)
    manager.close()

    assert [str(error) for error in reported] == ["fail"]
    assert len(received) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit(3)], ids=repr)
def test_unisolated_error_reaches_excepthook_and_worker_continues(
    manager: EventManager, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    shown: list[tuple[str | None, BaseException | None]] = []

    def show(args: threading.ExceptHookArgs) -> None:
        assert args.thread is not None
        shown.append((args.thread.name, args.exc_value))

    def give_up(event: BaseEvent) -> None:
        raise error

    received: list[BaseEvent] = []
    monkeypatch.setattr(threading, "excepthook", show)
    manager.connect(Opened, give_up)
    manager.connect(Closed, received.append)

    handles = [emitted(manager, Opened()), emitted(manager, Closed())]

    assert all(handle.join(10) for handle in handles)
    assert len(received) == 1
    assert shown == [("encore-events", error)]


def test_disable_applies_at_dispatch(manager: EventManager, gate: Gate) -> None:
    received: list[BaseEvent] = []
    manager.connect(Closed, gate)
    manager.connect(Opened, received.append)
    emitted(manager, Closed())

    handle = emitted(manager, Opened())
    manager.disable(Opened)
    gate.open.set()

    assert handle.join(10)
    assert received == []


def test_thread_ends_with_its_manager() -> None:
    manager = EventManager()
    assert emitted(manager, Opened()).join(10)
    (worker,) = manager._workers.values()
    ended = threading.Event()
    weakref.finalize(worker._jobs, ended.set)

    del manager, worker
    gc.collect()

    assert ended.wait(10)


def test_idle_worker_keeps_no_event_alive(manager: EventManager) -> None:
    freed = threading.Event()
    event = Opened()
    weakref.finalize(event, freed.set)
    assert emitted(manager, event).join(10)

    del event

    assert freed.wait(10)


def test_job_after_stop_is_still_done() -> None:
    done: list[int] = []
    worker = Worker(lambda reason, count: None, capacity=2)
    worker.run(lambda: done.append(1))

    worker.close(10)
    for number in range(2, 7):
        worker.run(lambda number=number: done.append(number))  # type: ignore[misc]  # a job takes nothing
    worker.close(10)

    assert done == [1, 2, 3, 4, 5, 6]


def test_stopped_thread_ends_even_if_an_emitter_ran_its_jobs(gate: Gate) -> None:
    done: list[str] = []
    ended = threading.Event()
    worker = Worker(lambda reason, count: None)
    weakref.finalize(worker._jobs, ended.set)
    worker.run(gate)
    assert gate.came.wait(10)

    worker.close(0)
    worker.run(lambda: done.append("done"))
    gate.open.set()
    del worker

    assert done == ["done"]
    assert ended.wait(10)


@pytest.mark.usefixtures("_stack_too_large")
def test_emitter_runs_the_job_if_no_thread_can_be_started(manager: EventManager) -> None:
    threads: list[int] = []
    manager.connect(Opened, lambda event: threads.append(threading.get_ident()))

    assert emitted(manager, Opened()).done()
    assert emitted(manager, Opened()).done()

    assert threads == [threading.get_ident()] * 2


def test_garbage_collection_emitting_meanwhile_gets_the_same_worker(manager: EventManager) -> None:
    received: list[int] = []
    handles: list[EmitHandle] = []
    manager.connect(Opened, lambda event: received.append(threading.get_ident()))

    before = working()

    with collecting_in(Worker.__init__, lambda: handles.append(emitted(manager, Opened()))):
        handles.append(emitted(manager, Opened()))

    assert working() == before + 1
    assert len(handles) == 2
    assert all(handle.join(10) for handle in handles)
    assert len(received) == 2
    assert len(set(received)) == 1


def test_interpreter_exit_flushes(child: Callable[[str], str]) -> None:
    printed = child("""
from encore_events import *
manager = EventManager()
manager.connect(BaseEvent, lambda event: print(event.number))
for number in range(1000):
    manager.emit(BaseEvent(number=number), block=False)
""")

    assert printed.split() == [str(number) for number in range(1000)]


def test_event_emitted_after_the_exit_flush_is_dispatched(child: Callable[[str], str]) -> None:
    printed = child("""
import atexit
from encore_events import *
manager = EventManager()
manager.connect(BaseEvent, lambda event: print(event.number))
atexit.register(lambda: manager.emit(BaseEvent(number=2), block=False).join())
manager.emit(BaseEvent(number=1), block=False)
""")

    assert printed.split() == ["1", "2"]


def test_exit_timeout_reports_lost_events(child: Callable[[str], str]) -> None:
    printed = child("""
import threading
import encore_events.worker
from encore_events import *
encore_events.worker.EXIT_SECONDS = 0.05
came = threading.Event()
def block(event):
    came.set()
    threading.Event().wait()
manager = EventManager()
manager.connect(EventsDroppedEvent, lambda event: print(event.queue, event.reason, event.count))
class Opened(BaseEvent): pass
manager.connect(Opened, block)
for _ in range(4):
    manager.emit(Opened(), block=False)
came.wait()
""")

    assert printed == "worker exit 3\n"


def test_lost_events_of_a_collected_manager_are_logged(caplog: pytest.LogCaptureFixture, gate: Gate) -> None:
    manager = EventManager()
    emitted(manager, Opened()).join(10)
    (worker,) = manager._workers.values()
    del manager
    gc.collect()

    worker._dropped("exit", 3)

    assert [record.getMessage() for record in caplog.records] == ["the worker dropped 3 events at exit"]


def test_forked_child_has_its_own_worker(untraced_child: Callable[[str], str]) -> None:
    printed = untraced_child("""
import os, sys, warnings
from encore_events import *
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
manager = EventManager()
manager.connect(BaseEvent, lambda event: print(event.name, flush=True))
manager.emit(BaseEvent(name="parent"), block=False).join(10)
pid = os.fork()
if pid == 0:
    assert manager.emit(BaseEvent(name="child"), block=False).join(10)
    manager.emit(BaseEvent(name="flushed"), block=False)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
manager.emit(BaseEvent(name="parent again"), block=False).join(10)
""")

    assert printed.splitlines() == ["parent", "child", "flushed", "parent again"]


def test_child_forked_on_the_worker_can_emit(untraced_child: Callable[[str], str]) -> None:
    printed = untraced_child("""
import os, warnings
from encore_events import *
warnings.simplefilter("ignore", DeprecationWarning)  # as above
class Opened(BaseEvent): pass
manager = EventManager()
def fork(event):
    pid = os.fork()
    if pid == 0:
        manager.connect(Opened, lambda event: print("child", flush=True))
        done = manager.emit(Opened(), block=False).join(10)
        os._exit(not done)
    print(os.waitpid(pid, 0)[1], flush=True)
manager.connect(BaseEvent, fork, {"name": "fork"})
assert manager.emit(BaseEvent(name="fork"), block=False).join(10)
""")

    assert printed.splitlines() == ["child", "0"]


def test_child_does_not_run_jobs_queued_by_the_parent(child: Callable[[str], str]) -> None:
    printed = child("""
import os, sys, threading, warnings
from encore_events import *
warnings.simplefilter("ignore", DeprecationWarning)  # as above
came, gate = threading.Event(), threading.Event()
manager = EventManager()
manager.connect(BaseEvent, lambda event: came.set())
manager.connect(BaseEvent, lambda event: gate.wait(10) and print(event.name, os.getpid() == parent, flush=True))
parent = os.getpid()
manager.emit(BaseEvent(name="running"), block=False)
manager.emit(BaseEvent(name="queued"), block=False)
came.wait()
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
gate.set()
""")

    assert printed.splitlines() == ["running True", "queued True"]
