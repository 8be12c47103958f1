"""The bus in forked children."""

from __future__ import annotations

import pytest

from encore_events import forks
from tests.forking import FORKS, run_forking

POLICIES = ("block", "drop_oldest", "drop_newest")
KINDS = tuple(FORKS)

READING = {
    "for": "next(iter(stream))",
    "get": "stream.get()",
    "get with a timeout": "stream.get(0)",
    "drain": "stream.drain()",
    "wait": "stream.wait()",
    "async for": "asyncio.run(anext(stream))",
}

BEGIN = """
import asyncio, atexit, ctypes, gc, logging, os, select, signal, sys, threading, weakref
from encore_events import *
from encore_events import forks
from encore_events.errors import ForkedError
from tests.forking import *

class Opened(BaseEvent): pass
"""


def run(program: str, *arguments: object) -> list[str]:
    return run_forking(BEGIN + program, *arguments)


def test_fork_hooks_run_in_order_despite_errors() -> None:
    printed = run("""
logging.basicConfig(stream=sys.stdout, format="%(message)s: %(exc_info)s", level="ERROR")
calls = []
class Kept: pass
kept = [Kept() for _ in range(5)]
def fail(error):
    def hook(one):
        raise error
    return hook
def note(number):
    return lambda one: calls.append(number)
forks.renew_in_child(kept[0], note(0))
forks.renew_in_child(kept[1], fail(ZeroDivisionError))
forks.renew_in_child(kept[2], fail(SystemExit))
forks.renew_in_child(kept[3], note(3))
forks.renew_in_child(kept.pop(), note(4))  # not kept
def work():
    sys.stdout.flush()
    return calls, forks.current.pid == os.getpid(), forks.current is forks.this_process()
print(forked(work))
print(calls)
""")

    assert [line for line in printed if line.startswith("a hook of a fork failed: (<class '")]
    assert sum("a hook of a fork failed" in line for line in printed) == 2
    assert printed[-2:] == ["([0, 3], True, True)", "[]"]


def test_hooks_around_a_fork_are_nested() -> None:
    printed = run("""
calls = []
class Kept: pass
kept = [Kept(), Kept()]
def note(name, number):
    return lambda one: calls.append((name, number))
for number, one in enumerate(kept):
    forks.around_forks(one, note("before", number), note("after", number))
print(forked(lambda: calls))
print(calls)
""")

    assert printed == ["[('before', 1), ('before', 0)]", "[('before', 1), ('before', 0), ('after', 0), ('after', 1)]"]


def test_return_values_of_hooks_are_freed_after_the_last_hook() -> None:
    printed = run("""
calls = []
class Freed:
    def __del__(self):
        calls.append("freed")
class Kept: pass
first, second = Kept(), Kept()
forks.renew_in_child(first, lambda one: Freed())
forks.renew_in_child(second, lambda one: calls.append("renewed"))
print(forked(lambda: calls))
""")

    assert printed == ["['renewed', 'freed']"]


def test_signals_are_blocked_until_all_hooks_ran() -> None:
    printed = run("""
calls = []
class Kept: pass
first, second = Kept(), Kept()
signal.signal(signal.SIGUSR1, lambda *_: calls.append("handled"))
def interrupt(one):
    os.kill(os.getpid(), signal.SIGUSR1)
forks.renew_in_child(first, interrupt)
forks.renew_in_child(second, lambda one: calls.append("renewed"))
print(forked(lambda: calls))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
""")

    assert printed == ["['renewed', 'handled']", "set()"]


def test_fork_within_a_hook_runs_the_hooks() -> None:
    printed = run("""
calls, pids = [], []
class Kept: pass
first, second = Kept(), Kept()
def fork_once(one):
    calls.append("first")
    if not pids:
        pids.append(forks.current.pid)
        pids.append(forked(lambda: (calls, forks.current.pid not in pids, forks.current.pid == os.getpid())))
forks.renew_in_child(first, fork_once)
forks.renew_in_child(second, lambda one: calls.append("second"))
print(forked(lambda: (calls, pids[1])))
""")

    assert printed == ["""(['first', 'second'], "(['first', 'first', 'second'], True, True)")"""]


@pytest.mark.parametrize("page", ["forks._page", "None"])
def test_fork_without_hooks_is_detected_once(page: str) -> None:
    printed = run(f"""
forks._page = {page}  # without one, the process id is compared
calls = []
class Kept: pass
kept, started, may_end = Kept(), threading.Barrier(8), threading.Event()
def renew(one):
    may_end.wait(0.05)  # the other threads detect the fork meanwhile
    calls.append(forks.current.pid == os.getpid() == forks.this_process().pid)
forks.renew_in_child(kept, renew)
def notice(seen):
    started.wait()
    seen.append((forks.this_process(), len(calls)))
def work():
    before, seen = forks.current, []
    threads = [threading.Thread(target=notice, args=(seen,)) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    processes, counts = map(set, zip(*seen))
    return calls, counts, processes == {{forks.current}}, before.pid == parent
parent = os.getpid()
print(forked(work, ctypes.CDLL(None).fork))
print(forked(work))
""")

    assert printed == ["([True], {1}, True, True)", "([True], {1}, True, False)"]


def test_process_repr_shows_its_pid() -> None:
    assert repr(forks.this_process()) == f"<Process {forks.current.pid}>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("read", READING.values(), ids=READING)
def test_reading_an_inherited_stream_raises(policy: str, read: str, kind: str) -> None:
    printed = run(
        f"""
manager = EventManager()
stream = manager.stream(Opened, policy={policy!r}, name="page")
def read():
    try:
        {read}
    except ForkedError as error:
        return str(error).replace(str(os.getppid()), "PARENT")
print(forked(read, FORKS[{kind!r}]))
manager.emit(Opened(number=1))
print(stream.get().number)
"""
    )

    words = (
        "<EventStream of Opened: 0 waiting, 0 dropped, closed> belongs to process PARENT, from which this process was "
        "forked: make a stream of this process's own with stream() of the event manager"
    )
    assert printed == [repr(words), "1"]


@pytest.mark.parametrize("policy", POLICIES)
def test_inherited_stream_is_empty_and_stays_empty(policy: str) -> None:
    printed = run(
        f"""
manager = EventManager()
stream = manager.stream(Opened, policy={policy!r}, capacity=2)
other_thread = threading.Thread(target=stream.wait, args=(0,))  # so that this thread waits when the stream is full
other_thread.start(), other_thread.join()
events = [Opened(number=number) for number in range(2)]
living = weakref.WeakSet(events)
for event in events: manager.emit(event)
def work():
    events.clear()
    globals().pop("event")
    gone = len(living)
    for number in range(5):
        manager.emit(Opened(number=number))
    return gone, len(stream), stream, stream.closed, manager.has_listeners(Opened), stream.dropped
print(forked(work))
print([event.number for _, event in stream.drain()])
"""
    )

    assert printed == ["(0, 0, <EventStream of Opened: 0 waiting, 0 dropped, closed>, True, False, 0)", "[0, 1]"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", ["another thread", "nobody"])
def test_emitter_in_child_does_not_wait_for_readers_of_the_parent(reader: str, kind: str) -> None:
    printed = run(
        f"""
manager = EventManager()
stream = manager.stream(Opened, policy="block", capacity=1)
def read_and_stay():
    stream.wait(0)
    has_read.set()
    ends.wait()
has_read, ends = threading.Event(), threading.Event()
if {reader!r} == "another thread":
    threading.Thread(target=read_and_stay).start()
    has_read.wait()
manager.emit(Opened())
def work():
    emitters = [threading.Thread(target=manager.emit, args=(Opened(),)) for _ in range(3)]
    for emitter in emitters: emitter.start()
    manager.emit(Opened())
    for emitter in emitters: emitter.join()
    return len(stream)
print(forked(work, FORKS[{kind!r}]))
print(len(stream))
ends.set()
"""
    )

    assert printed == ["0", "1"]


@pytest.mark.parametrize("ending", ["stream.close()", "globals().pop('stream'), gc.collect()", "manager.close()"])
@pytest.mark.parametrize("kind", KINDS)
def test_ending_an_inherited_stream_does_not_affect_the_parent(ending: str, kind: str) -> None:
    printed = run(
        f"""
manager, reported = EventManager(), []
manager.connect(EventsDroppedEvent, lambda event: reported.append(event.count))
clock = iter(range(0, 1000)).__next__
stream = EventStream(manager, Opened, capacity=1, clock=lambda: 0.0)
for number in range(5):
    manager.emit(Opened(number=number))
before = list(reported)
def work():
    {ending}
    {ending if "stream" in ending and "pop" not in ending else "pass"}
    return reported == before
print(before, forked(work, FORKS[{kind!r}]))
print([getattr(event, "count", None) for _, event in stream.drain()], stream.closed, reported)
"""
    )

    assert printed == ["[1] True", "[4, None] False [1, 3]"]


def test_event_loop_of_the_parent_is_not_woken() -> None:
    printed = run("""
manager = EventManager()
async def main():
    stream = manager.stream(Opened)
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    def work():
        manager.emit(Opened())
        stream.close()
    answer = forked(work)
    woken, _, _ = select.select([asyncio.get_running_loop()._ssock], [], [], 0)
    manager.emit(Opened(number=1))
    return answer, woken, (await reader).number
print(asyncio.run(main()))
""")

    assert printed == ["('None', [], 1)"]


def test_task_waiting_at_the_fork_raises_in_the_child() -> None:
    printed = run("""
manager = EventManager()
async def main():
    stream = manager.stream(Opened)
    reader = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    if (child := fork()) == 0:
        signal.alarm(SECONDS)
        try:
            await reader
        except ForkedError:
            os._exit(7)
    reader.cancel()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(asyncio.run(main()))
""")

    assert printed == ["7"]


def test_stream_closed_before_the_fork_can_be_read_in_the_child() -> None:
    printed = run("""
manager = EventManager()
with manager.stream(Opened) as stream:
    for number in range(3):
        manager.emit(Opened(number=number))
print(forked(lambda: [event.number for event in stream]))
print([event.number for event in stream])
""")

    assert printed == ["[0, 1, 2]", "[0, 1, 2]"]


@pytest.mark.parametrize("kind", KINDS)
def test_children_and_grandchildren_have_their_own_streams(kind: str) -> None:
    printed = run(
        f"""
manager = EventManager()
inherited = manager.stream(Opened)
def read():
    with manager.stream(Opened) as stream:
        manager.emit(Opened(number=7))
    return [event.number for event in stream]
def work():
    stream = manager.stream(Opened)
    pid = os.getpid()
    def work_in_turn():
        errors = []
        for each in (inherited, stream):
            try:
                each.get()
            except ForkedError as error:
                errors.append(error.pid)
        return read(), errors == [parent, pid]
    return read(), forked(work_in_turn)
parent = os.getpid()
print(forked(work, FORKS[{kind!r}]))
"""
    )

    assert printed == ["([7], '([7], True)')"]


@pytest.mark.parametrize(
    ("work", "is_waiting", "expected"),
    [
        ("stream.get", "stream._buffer._readers", "ForkedError"),
        ("stream.wait", "stream._buffer._readers", "ForkedError"),
        ("lambda: [manager.emit(Opened()) for _ in range(3)]", "full._buffer._emitters", "[None, None, None]"),
        ("handle.join", "worker._joins.handles", "False"),
        ("lambda: crowd(manager).join()", "len(crowded) == 3", "True"),
        ("manager.close", "worker._joins.handles", "None"),
    ],
)
def test_fork_in_a_signal_handler_unblocks_waiters_in_the_child(work: str, is_waiting: str, expected: str) -> None:
    printed = run(
        f"""
from encore_events import worker
worker.Worker.__init__.__kwdefaults__["capacity"] = 2
parent, gate, crowded, reported = os.getpid(), threading.Event(), [], []
manager = EventManager()
manager.connect(EventsDroppedEvent, reported.append)
manager.connect(BaseEvent, lambda event: os.getpid() != parent or gate.wait(), {{"name": "slow"}})
stream = manager.stream(Opened, {{"name": "never"}})
full = manager.stream(Opened, policy="block", capacity=2)
reader = threading.Thread(target=full.wait, args=(0,))
reader.start(), reader.join()
handle = manager.emit(BaseEvent(name="slow"), block=False)
def crowd(manager):
    for _ in range(3):  # one more than the capacity, since the worker waits for the gate
        crowded.append(None)
        done = manager.emit(BaseEvent(name="quick"), block=False)
    return done
print(forked_in_a_handler({work}, lambda: {is_waiting}), reported)
gate.set()
full.close()
"""
    )

    assert printed == [f"{expected} []"]


@pytest.mark.parametrize("kind", KINDS)
def test_join_of_inherited_handle_returns_at_once(kind: str) -> None:
    printed = run(
        f"""
gate, manager = threading.Event(), EventManager()
manager.connect(BaseEvent, lambda event: gate.wait(), {{"name": "slow"}})
done = manager.emit(Opened(), block=False)
done.join()
slow = manager.emit(BaseEvent(name="slow"), block=False)
queued = manager.emit(Opened(), block=False)
print(forked(lambda: [(each.join(), each.join(0), each.done()) for each in (done, slow, queued)], FORKS[{kind!r}]))
gate.set()
print(queued.join(), slow.done())
"""
    )

    assert printed == ["[(True, True, True), (False, False, False), (False, False, False)]", "True True"]


@pytest.mark.parametrize("kind", KINDS)
def test_child_has_its_own_worker_and_no_jobs_of_the_parent(kind: str) -> None:
    printed = run(
        f"""
gate, manager, received = threading.Event(), EventManager(), []
manager.connect(BaseEvent, lambda event: gate.wait(), {{"name": "slow"}})
manager.connect(Opened, lambda event: received.append((event.number, os.getpid() == parent)))
parent = os.getpid()
manager.emit(BaseEvent(name="slow"), block=False)
for number in range(3):
    manager.emit(Opened(number=number), block=False)
def work():
    handles = [manager.emit(Opened(number=number), block=False) for number in range(10, 13)]
    joined = [handle.join() for handle in handles]
    manager.close()
    return all(joined), received
print(forked(work, FORKS[{kind!r}]))
gate.set()
manager.close()
print(received)
"""
    )

    assert printed == ["(True, [(10, False), (11, False), (12, False)])", "[(0, True), (1, True), (2, True)]"]


def test_child_forked_on_the_worker_runs_no_inherited_job() -> None:
    printed = run("""
manager, read, write = EventManager(), *os.pipe()
parent, children = os.getpid(), []
def fork_there(event):
    children.append(fork())
    if children[-1] == 0:
        signal.alarm(SECONDS)
        os.write(write, b"child ")
manager.connect(BaseEvent, fork_there, {"name": "fork"})
manager.connect(Opened, lambda event: os.write(write, b"parent " if os.getpid() == parent else b"child, too "))
handles = [manager.emit(event, block=False) for event in (BaseEvent(name="fork"), Opened(), Opened())]
handles[-1].join()
print(os.waitpid(children[0], 0)[1])
os.close(write)
print(sorted(os.read(read, 1000).decode().split()))
""")

    assert printed == ["0", "['child', 'parent', 'parent']"]


def test_exit_of_child_runs_no_inherited_job() -> None:
    printed = run("""
gate, manager, read, write = threading.Event(), EventManager(), *os.pipe()
parent = os.getpid()
manager.connect(BaseEvent, lambda event: gate.wait(), {"name": "slow"})
manager.connect(Opened, lambda event: os.write(write, b"parent " if os.getpid() == parent else b"child "))
manager.connect(EventsDroppedEvent, lambda event: os.write(write, b"dropped "))
manager.emit(BaseEvent(name="slow"), block=False)
manager.emit(Opened(), block=False)
if fork() == 0:
    signal.alarm(SECONDS)
    sys.exit(0)
os.wait()
gate.set()
manager.close()
os.close(write)
print(os.read(read, 1000).decode())
""")

    assert printed == ["parent "]


@pytest.mark.parametrize("name", ["a listener", "a filter", "a finalizer", "pre_emit"])
def test_fork_within_the_bus_leaves_both_processes_usable(name: str) -> None:
    printed = run(
        f"""
manager, answers = EventManager(), []
stream = manager.stream(BaseEvent)
def use():
    joined = manager.emit(Opened(), block=False).join()
    with manager.stream(Opened) as own:
        manager.emit(Opened())
    return joined, len(own)
def fork_once(*_):
    if not answers:
        answers.append(None)
        answers[0] = forked(use)
    return True
class Dying:
    __del__ = fork_once
class Hooked(BaseEvent):
    pre_emit = fork_once
def die(event):
    Dying()
event = Hooked() if {name!r} == "pre_emit" else BaseEvent()
if {name!r} == "a listener": manager.connect(BaseEvent, fork_once)
if {name!r} == "a filter": manager.connect(BaseEvent, lambda event: None, where=fork_once)
if {name!r} == "a finalizer": manager.connect(BaseEvent, die)
manager.emit(event)
print(answers, use(), len(stream) > 2)
"""
    )

    assert printed == ["['(True, 1)'] (True, 1) True"]
