"""Subscribers in forked children: locks held at the fork, operations in progress, bars, log lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forking import FORKS, run_forking

BEGIN = """
import contextlib
from encore_storage import ForkedStoreError
import io, json, os, select, signal, sys, threading
import structlog
from pathlib import Path
from prometheus_client import CollectorRegistry, generate_latest
from encore_events import EventManager, ProgressManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars, SummarySubscriber
from encore_storage.subscribers import metrics
from encore_storage.subscribers.logs import open_logger
from tests.forking import *

manager, registry = EventManager(), CollectorRegistry()

def store(name="archive"):
    return DictMemoryStore(name=name, event_manager=manager)
"""

LOCKS = {
    "the summary": "summary._lock",
    "the cells": "collector.cells.lock",
    "the labels": "collector._labels._lock",
    "the collector": "collector._lock",
    "the collectors": "metrics.collectors._lock",
    "the registry": "registry._lock",
}


def run(program: str, *arguments: object) -> list[str]:
    return run_forking(BEGIN + program, *arguments)


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_lock_held_by_another_thread_is_free_in_a_child(lock: str) -> None:
    printed = run(
        f"""
summary = SummarySubscriber().connect(manager)
counted = MetricsSubscriber(registry=registry).connect(manager)
collector = metrics.collectors.get(registry)
store().from_bytes("a", b"1")
def work():
    def fail(event):
        raise ZeroDivisionError
    archive = store()
    with archive.transaction():
        archive.from_bytes("a", b"12")
    MetricsSubscriber(registry=registry).connect(EventManager())
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    store("another").exists("b")
    counted.disconnect()
    collector._labels.label("listener", "a")
    labels = {{"store": "archive", "operation": "set", "direction": "write"}}
    moved = registry.get_sample_value("encore_storage_transferred_bytes_total", labels)
    return moved, len(generate_latest(registry)) > 1000, summary.transactions
with held({lock}):
    print(forked(work))
"""
    )

    assert printed == ["(2, True, Counter({'committed': 1}))"]


@pytest.mark.parametrize("kind", FORKS)
def test_child_has_nothing_of_the_parent_in_progress(kind: str) -> None:
    printed = run(
        f"""
from encore_events import forks
from encore_storage.server import EventFeed
MetricsSubscriber(registry=registry, clock=iter(range(1000)).__next__).connect(manager)
feed = EventFeed().connect(manager)
archive = store()
archive.from_bytes("a", b"1" * 10)
opened, query = archive.get_data("a"), archive.query_keys()
transaction = archive.transaction()
transaction.__enter__()
def in_progress():
    collected = [one for family in registry.collect() for one in family.samples if "in_progress" in one.name]
    names = [one.name.removeprefix("encore_storage_") for one in collected if one.value]
    state = feed.view().current((), 10)
    return names, state["in_flight_total"], len(state["transactions_in_flight"])
def work():
    forks.this_process()
    before = in_progress()
    own = store("own")
    with own.transaction():
        own.from_bytes("b", b"1")
        meanwhile = in_progress()[1:]
    return before, meanwhile, in_progress()
print(forked(work, FORKS[{kind!r}]))
names, *in_flight = in_progress()
print((len(names), *in_flight))
opened.close(), query.close(), transaction.__exit__(None, None, None)
feed.disconnect()
"""
    )

    assert printed == ["(([], 0, 0), (0, 1), ([], 0, 0))", "(5, 2, 1)"]


BARS = """
from rich.console import Console
terminal = open(sys.argv[1], "w")
console = Console(file=terminal, force_terminal=True, width=120, _environ={"TERM": "xterm"})
bars = ProgressBars(console=console, delay=0).connect(manager)
live = bars._live
progress = ProgressManager(manager, message="of the parent", steps=10)
progress(1)
drawn = lambda: (terminal.flush(), Path(sys.argv[1]).read_text())[1]
"""


@pytest.mark.parametrize(
    "lock",
    [
        "live._lock",
        "console._lock",
        "console._record_buffer_lock",
        "bars._lock",
        "bars._steps._lock",
        "bars._bytes._lock",
    ],
)
def test_child_draws_no_bars_of_its_parent(tmp_path: Path, lock: str) -> None:
    printed = run(
        BARS
        + f"""
live.refresh()
print("not ended yet", end="", file=sys.stderr)  # the child must not complete it
def work():
    before = drawn()
    print("of the child", flush=True)
    print("its error", file=sys.stderr, flush=True)
    progress(2)
    with ProgressManager(manager, message="another", steps=3) as own:
        own(2)
    failed = ProgressManager(manager, message="failed", steps=3)
    failed(1), failed.end("broken", "error")
    console.print("printed")
    bars.disconnect()
    return sys.stderr is sys.__stderr__, drawn().removeprefix(before), manager.has_listeners(type(own).StepEventType)
os.dup2(1, 2)
with held({lock}):
    answer = forked(work)
print(", but now", file=sys.stderr)
is_ours = sys.stderr is not sys.__stderr__ and sys.stdout is sys.__stdout__
bars.disconnect()
print(answer, is_ours, sys.stderr is sys.__stderr__)
print("of the parent" in drawn(), "not ended yet, but now" in drawn(), "of the child" in drawn())
""",
        tmp_path / "terminal",
    )

    assert printed == ["of the child", "its error", "(True, 'printed\\n', False) True True", "True True False"]


def test_child_may_draw_its_own_bars(tmp_path: Path) -> None:
    printed = run(
        BARS
        + """
def work():
    bars.connect(manager)
    own = ProgressManager(manager, message="of the child", steps=10)
    own(1)
    with console.capture() as captured:
        console.print(bars.render())
    bars.disconnect()
    return ["parent" in captured.get(), "of the child" in captured.get(), sys.stdout is sys.__stdout__]
print(forked(work), file=sys.__stdout__)
bars.disconnect()
""",
        tmp_path / "terminal",
    )

    assert printed == ["[False, True, True]"]


OUTPUTS = {
    "open_logger of a path": "opened(path)",
    "open_logger of a stream": "opened(path.open('w'))",
    "print": "structlog.wrap_logger(structlog.PrintLogger(path.open('w')), processors=JSON)",
    "write": "structlog.wrap_logger(structlog.WriteLogger(path.open('w')), processors=JSON)",
    "bytes": "structlog.wrap_logger(structlog.BytesLogger(path.open('wb')), processors=BYTES)",
    "filtered": "structlog.wrap_logger(structlog.PrintLogger(path.open('w')), processors=JSON, wrapper_class=INFO)",
    "cached": "structlog.wrap_logger(structlog.PrintLogger(path.open('w')), processors=JSON, **CACHED)",
    "bound": "structlog.wrap_logger(structlog.PrintLogger(path.open('w')), processors=JSON).bind(a=1)",
    "configured": "configured(structlog.PrintLoggerFactory(path.open('w')))",
    "standard output": "configured(structlog.PrintLoggerFactory())",
}

LOGS = """
path, answers = Path(sys.argv[1]), os.dup(1)
JSON = [structlog.processors.JSONRenderer()]
BYTES = [structlog.processors.JSONRenderer(serializer=lambda *a, **k: json.dumps(*a, **k).encode())]
INFO, CACHED = structlog.make_filtering_bound_logger(20), {"cache_logger_on_first_use": True}
kept = []
def opened(target):
    kept.append(open_logger(target))
    return kept[-1].__enter__()
def configured(factory):
    structlog.configure(processors=JSON, logger_factory=factory)
    return None
def lines(of=None):
    return [json.loads(line) for line in (of or path).read_text().splitlines() if line]
def output_of(logger):
    return (structlog.get_logger() if logger is None else logger).bind()._logger
"""


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("logger", OUTPUTS.values(), ids=OUTPUTS)
def test_line_of_a_child_waits_for_no_thread_of_its_parent(tmp_path: Path, logger: str, kind: str) -> None:
    printed = run(
        LOGS
        + f"""
if "PrintLoggerFactory())" in {logger!r}:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
logger = {logger}
LogSubscriber(logger=logger).connect(manager)
store().from_bytes("a", b"1")
output = output_of(logger)
def work():
    store().from_bytes("b", b"1")
    if {kind!r} == "with hooks":
        (structlog.get_logger() if logger is None else logger).info("by itself")
        return lines().pop()["event"]
with held(output._lock):
    answer = forked(work, FORKS[{kind!r}])
store().from_bytes("c", b"1")
logged = [line["key"] for line in lines() if "ended" in line["event"]]
os.write(answers, f"{{answer}} {{logged}}".encode())
""",
        tmp_path / "log",
    )

    by_itself = "'by itself'" if kind == "with hooks" else "None"
    assert printed == [f"{by_itself} ['a', 'b', 'c']"]


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize(
    "logger",
    [
        "opened(full)",
        "structlog.wrap_logger(structlog.PrintLogger(full), processors=JSON)",
        "structlog.wrap_logger(structlog.WriteLogger(full), processors=JSON)",
        "structlog.wrap_logger(structlog.BytesLogger(full.buffer), processors=BYTES)",
        "configured(structlog.PrintLoggerFactory(full))",
    ],
)
def test_line_of_a_child_waits_for_no_lock_inside_a_file(tmp_path: Path, logger: str, kind: str) -> None:
    printed = run(
        LOGS
        + f"""
reading, writing = os.pipe()
full = open(writing, "w")
LogSubscriber(logger={logger}).connect(manager)
def fill():
    full.write("x" * 10_000_000)  # blocks on the pipe and holds the lock of the buffer
    full.flush()
thread = threading.Thread(target=fill, daemon=True)
thread.start()
until(lambda: not select.select([], [writing], [], 0)[1])
def work():
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), writing)
    store().from_bytes("b", b"1")
    os.dup2(1, 2)
    return [line["key"] for line in lines() if "ended" in line["event"]]
print(forked(work, FORKS[{kind!r}]), flush=True)
os._exit(0)
""",
        tmp_path / "log",
    )

    assert printed == ["['b']"]


FIRST = """
import json, sys, threading
import structlog
from tests.forking import *
path = sys.argv[1]
file = open(path, "w")
structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(file))
output = structlog.get_logger().bind()._logger
def work():
    from encore_events import EventManager
    from encore_storage import DictMemoryStore
    from encore_storage.subscribers import LogSubscriber
    manager = EventManager()
    LogSubscriber().connect(manager)
    store = DictMemoryStore(name="archive", event_manager=manager)
    store.from_bytes("a", b"1"), store.from_bytes("b", b"1")
    return [json.loads(line)["key"] for line in open(path) if line.strip()]
"""


@pytest.mark.parametrize("imports", ["", "import encore_storage", "from encore_storage import DictMemoryStore"])
def test_first_subscriber_of_a_child_waits_for_no_line_of_its_parent(tmp_path: Path, imports: str) -> None:
    printed = run_forking(f"{FIRST}\n{imports}\nwith held(output._lock):\n    print(forked(work))", tmp_path / "log")

    assert printed == ["['a', 'b']"]


def test_first_subscriber_of_a_child_waits_for_no_lock_inside_a_file(tmp_path: Path) -> None:
    printed = run_forking(
        FIRST
        + """
import select
from encore_storage import DictMemoryStore
reading, writing = os.pipe()
os.dup2(writing, file.fileno())
def fill():
    file.write("x" * 10_000_000)  # blocks on the pipe and holds the lock of the buffer
    file.flush()
threading.Thread(target=fill, daemon=True).start()
until(lambda: not select.select([], [file.fileno()], [], 0)[1])
def work_in_a_file():
    os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), file.fileno())
    return work()
print(forked(work_in_a_file), flush=True)
os._exit(0)
""",
        tmp_path / "log",
    )

    assert printed == ["['a', 'b']"]


INTERRUPTED_LINE = """
class Interrupting(io.StringIO):
    def write(self, text):
        written = super().write(text)
        if text.strip() and not handled:
            handled.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return written
handled, answers, file = [], [], Interrupting()
"""


@pytest.mark.parametrize(
    "logger",
    [
        "opened(file)",
        "structlog.wrap_logger(structlog.PrintLogger(file), processors=JSON)",
        "structlog.wrap_logger(structlog.WriteLogger(file), processors=JSON)",
        "configured(structlog.PrintLoggerFactory(file))",
    ],
)
def test_signal_handler_may_use_a_store_during_a_line(tmp_path: Path, logger: str) -> None:
    printed = run(
        LOGS
        + INTERRUPTED_LINE
        + f"""
signal.alarm(SECONDS)
signal.signal(signal.SIGUSR1, lambda *_: store().from_bytes("b", b"1"))
LogSubscriber(logger={logger}).connect(manager)
store().from_bytes("a", b"1")
store().from_bytes("c", b"1")
text = file.getvalue()
print(*(text.count(f'"key": "{{key}}"') > 0 for key in "abc"))
""",
        tmp_path / "log",
    )

    assert printed == ["True False True"]  # nothing is logged that a thread does while it writes a line


def test_signal_handler_may_use_a_store_during_a_line_of_the_program(tmp_path: Path) -> None:
    printed = run(
        LOGS
        + INTERRUPTED_LINE
        + """
signal.alarm(SECONDS)
signal.signal(signal.SIGUSR1, lambda *_: store().from_bytes("b", b"1"))
logger = structlog.wrap_logger(structlog.PrintLogger(file), processors=JSON)
LogSubscriber().connect(manager)
structlog.configure(processors=JSON, logger_factory=structlog.PrintLoggerFactory(file))
logger.info("a line of the program")
print('"key": "b"' in file.getvalue(), "a line of the program" in file.getvalue())
""",
        tmp_path / "log",
    )

    assert printed == ["True True"]


@pytest.mark.parametrize("method", ["PrintLogger", "WriteLogger"])
def test_child_forked_during_a_line_completes_it(tmp_path: Path, method: str) -> None:
    printed = run(
        LOGS
        + INTERRUPTED_LINE
        + f"""
children = []
signal.signal(signal.SIGUSR1, lambda *_: children.append(fork()))
logger = structlog.wrap_logger(structlog.{method}(file), processors=JSON)
LogSubscriber(logger=logger, level="debug").connect(manager)
with contextlib.suppress(ForkedStoreError):  # in the child: the operation is the parent's
    store().from_bytes("a", b"1")
if children == [0]:
    signal.alarm(SECONDS)
store().from_bytes("b", b"1")
if children == [0]:
    os._exit(file.getvalue().count("ended"))
print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
""",
        tmp_path / "log",
    )

    assert printed == ["1"]


def test_lines_of_parent_and_children_never_interleave(tmp_path: Path) -> None:
    printed = run(
        LOGS
        + """
logger = opened(path)
def work(name):
    for number in range(200):
        logger.info("line", text=f"{name} {number} " * 100)
def work_twice(name):
    threads = [threading.Thread(target=work, args=(f"{name}{index}",)) for index in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
children = []
for name in "ab":
    children.append(fork())
    if children[-1] == 0:
        work_twice(name)
        os._exit(0)
work_twice("c")
for child in children: os.waitpid(child, 0)
print(len({line["text"] for line in lines()}))
""",
        tmp_path / "log",
    )

    assert printed == ["1200"]


def test_line_without_room_raises_at_the_end_and_damages_no_other(tmp_path: Path) -> None:
    printed = run(
        LOGS
        + """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
try:
    with open_logger(path) as logger:
        logger.info("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limit))
        for _ in range(2):
            try:
                logger.info("second")
            except OSError as error:
                print(error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        logger.info("third")
except OSError as error:
    print(error.strerror, error.filename == str(path))
first, half, third = path.read_text().splitlines()
print(json.loads(first)["event"], len(half), json.loads(third)["event"])
""",
        tmp_path / "log",
    )

    assert printed == ["File too large", "File too large", "File too large True", "first 20 third"]
