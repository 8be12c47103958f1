"""The group of a process: it is freed once it is closed, and left at the exit otherwise."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import DictMemoryStore, monitor
from encore_storage.processes.group import Group
from tests.forking import run_forking


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of all groups, of the test alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path) / "encore-1"


def groups() -> int:
    gc.collect()
    return sum(type(each) is Group for each in gc.get_objects())


def test_closed_monitor_leaves_no_group(base: Path) -> None:
    before = groups()
    for _ in range(3):
        manager = EventManager()
        with monitor(manager, logs=False, registry=CollectorRegistry(), port=0):
            DictMemoryStore(name="app", event_manager=manager).from_bytes("a", b"1")

    assert groups() == before
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("imported", ["multiprocessing.util", "sys"])
def test_cancelled_call_is_freed_and_not_made(imported: str) -> None:
    printed = run_forking(
        f"""
import gc, weakref, {imported}
from encore_storage.processes.group import call_at_exit
class Owner:
    def call(self):
        print("called")
first, second = Owner(), Owner()
cancel, _ = call_at_exit(first.call), call_at_exit(second.call)
cancel()
cancel()
reference = weakref.ref(first)
del first, cancel
gc.collect()
print(reference())
"""
    )

    assert printed == ["None", "called"]
