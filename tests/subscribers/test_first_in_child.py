"""The first log subscriber of a program, in a forked child whose parent logs through structlog."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forking import run_forking

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
