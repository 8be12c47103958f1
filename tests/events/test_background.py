"""Work of finalizers, done in the background thread."""

from __future__ import annotations

import _thread
import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from encore_events import EventManager, background
from encore_events.background import run_in_background
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.observing.streams import ObservedIterator, ObservedReader
from tests.storage.support import LONG


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of arguments passed to threading.excepthook."""
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    return shown


def started(manager: EventManager) -> StoreProgressManager:
    """Return an operation that has started."""
    operation = StoreProgressManager(manager, "source")  # or its own events would keep it
    operation.start()
    return operation


def wait_for_all() -> None:
    """Wait until all background work is done."""
    done = threading.Event()
    run_in_background(done.set)
    assert done.wait(LONG)


def test_work_runs_in_another_thread_in_order() -> None:
    done: list[tuple[int, int]] = []

    def work(number: int) -> None:
        done.append((number, threading.get_ident()))

    for number in range(100):
        run_in_background(functools.partial(work, number))
    wait_for_all()

    assert [number for number, _ in done] == list(range(100))
    assert threading.get_ident() not in {thread for _, thread in done}


def test_work_can_add_more_work() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(LONG)
        run_in_background(done.set)

    run_in_background(work)
    assert begun.wait(LONG)
    go_on.set()
    assert done.wait(LONG)


def test_failing_work_is_shown_and_the_rest_runs(shown: list[Any]) -> None:
    run_in_background(lambda: 1 / 0)
    wait_for_all()

    (args,) = shown
    assert args.exc_type is ZeroDivisionError


def test_work_waits_until_a_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    wait_for_all()
    done = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(_thread, "start_new_thread", start)
        run_in_background(done.set)
        assert not done.is_set()
    wait_for_all()

    assert done.is_set()


def test_work_added_as_the_thread_ends_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(background._Queue):
        """A queue that gets more work just as the thread is about to end."""

        def __setattr__(self, name: str, value: object) -> None:
            if (name, value) == ("is_running", False) and hasattr(self, name) and not done.is_set():
                self.waiting.put(done.set)
            super().__setattr__(name, value)

    wait_for_all()
    done = threading.Event()
    monkeypatch.setattr(background, "_queue", Late())
    run_in_background(lambda: None)

    assert done.wait(LONG)


@pytest.mark.parametrize("cls", [ObservedReader, ObservedIterator])
def test_operation_with_unclosable_source_ends_as_cancelled(
    cls: Any, manager: EventManager, recorder: EventRecorder, shown: list[Any]
) -> None:
    def chunks() -> Iterator[bytes]:
        try:
            yield b"1\n"
        finally:
            raise OSError("cable")

    next(cls(chunks(), started(manager)))
    wait_for_all()

    assert recorder.one(StoreProgressEndEvent).outcome == "cancelled"
    assert [args.exc_type for args in shown] == [OSError]


def test_error_of_strict_manager_does_not_stop_other_work(shown: list[Any]) -> None:
    manager = EventManager(strict=True)
    recorder = EventRecorder(manager)
    manager.connect(StoreProgressEndEvent, lambda event: 1 / 0)

    for _ in range(2):
        ObservedIterator([1, 2], started(manager))
        wait_for_all()

    assert len(recorder.of(StoreProgressEndEvent)) == len(shown) == 2
