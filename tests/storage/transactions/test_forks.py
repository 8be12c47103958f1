"""A child forked while a transaction is open."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.storage.support import LONG, REPOSITORY

FORKED = """
import os, threading
from encore_events import BaseEvent, EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreTransactionEndEvent
from encore_storage.stores import DictMemoryStore

manager = EventManager()
store = DictMemoryStore(event_manager=manager)
store.from_bytes("before", b"old")
written, ending = threading.Event(), threading.Event()

def hold():
    with store.transaction():
        store.from_bytes("before", b"new")
        store.from_bytes("theirs", b"1")
        written.set()
        ending.wait()

thread = threading.Thread(target=hold)
thread.start()
written.wait()
child = os.fork()
if not child:
    assert sorted(store.query_keys()) == ["before"]
    assert store.to_bytes("before") == b"old"
    recorder = EventRecorder(manager)
    {work}
    assert store.exists("mine")
    assert store.to_bytes("before") == b"old"
    assert not store.exists("theirs")
    assert [event.key for event in recorder.of(StoreModificationEvent)] == ["mine"]
    raise SystemExit(42)
ending.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
assert store.to_bytes("before") == b"new"
assert store.exists("theirs")
assert not store.exists("mine")
"""


FORKED_INSIDE = """
import os
from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import StoreError
from encore_storage.stores import DictMemoryStore

def refused(call):
    try:
        call()
    except StoreError as error:
        return str(os.getppid()) in str(error) and "forked" in str(error)

manager = EventManager()
store = DictMemoryStore(event_manager=manager)
store.from_bytes("before", b"0")
recorder = EventRecorder(manager)
child = -1

def block():
    global child
    with store.transaction():
        store.from_bytes("a", b"1")
        child = os.fork()
        if not child:
            recorder.clear()
            assert list(store.query_keys()) == ["before"]
            assert refused(lambda: store.from_bytes("a", b"2"))
            assert refused(lambda: store.transaction().__enter__())
            assert refused(lambda: store.delete("before"))

was_refused = refused(block)
assert bool(was_refused) == (not child)
with store.transaction():
    store.from_bytes("b", b"2")
keys = sorted(store.query_keys())
if child:
    assert keys == ["a", "b", "before"]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    assert keys == ["b", "before"]
    ends = [event.outcome for event in recorder.events if "TransactionEnd" in type(event).__name__]
    assert ends == ["committed"]
"""


def run(script: str) -> None:
    """Run a script in a process of its own, with a timeout so that a deadlock fails the test."""
    command = [sys.executable, "-X", "faulthandler", "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, timeout=LONG, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "work",
    ['with store.transaction(): store.from_bytes("mine", b"1")', 'store.from_bytes("mine", b"1")'],
    ids=["transaction", "write"],
)
def test_child_forked_during_transaction_of_thread_sees_committed_values_and_can_write(work: str) -> None:
    run(FORKED.format(work=work))


def test_child_forked_inside_transaction_is_refused_until_it_leaves_the_block() -> None:
    run(FORKED_INSIDE)
