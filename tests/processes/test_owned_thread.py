"""A thread that goes on after a failed round."""

from __future__ import annotations

import logging
import threading

import pytest

from encore_storage.processes.owned_thread import FAILED_SECONDS, OwnedThread
from tests.forking import run_forking


class Waits(threading.Event):
    """An event that records the waits for it, and lets none of them last."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return self.is_set()


class Rounds:
    """Rounds that return or raise one after the other."""

    def __init__(self, *outcomes: bool | BaseException) -> None:
        self.left = list(outcomes)

    def __call__(self) -> bool:
        outcome = self.left.pop(0)
        if isinstance(outcome, bool):
            return outcome
        raise outcome


def ran(rounds: Rounds) -> list[float | None]:
    """Let a thread do the rounds; return the seconds that it paused."""
    stopping, ends = Waits(), list[str]()
    thread = OwnedThread(
        lambda: thread.repeat(rounds, stopping), lambda: ends.append(threading.current_thread().name), name="rounds"
    )
    thread.start()
    thread.join()
    assert ends == ["rounds"]
    return stopping.seconds


def test_thread_goes_on_a_second_after_each_failed_round(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds(True, OSError("first"), OSError("again"), True, OSError("later"), False)

    assert ran(rounds) == [FAILED_SECONDS] * 3
    assert rounds.left == []
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["first", "later"]
    assert {record.message for record in caplog.records} == {"a round of the thread 'rounds' failed; it goes on"}


@pytest.mark.parametrize("error", [ZeroDivisionError(), RecursionError()], ids=repr)
def test_failing_filter_of_the_logger_ends_no_thread(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: logging.LogRecord) -> bool:
        raise error

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(logging.getLogger("encore_events"), "filters", [fail])
    rounds = Rounds(OSError(), True, OSError(), False)

    assert len(ran(rounds)) == 2
    assert rounds.left == []


def test_forked_child_ends_the_rounds() -> None:
    printed = run_forking("""
import threading
from encore_storage.processes.owned_thread import OwnedThread
from tests.forking import *
def one_round():
    if own.is_own:
        print(forked(lambda: own.repeat(lambda: 1 / 0, stopping)))
    return False
stopping = threading.Event()
own = OwnedThread(lambda: own.repeat(one_round, stopping), lambda: None, name="rounds")
own.start()
own.join()
""")

    assert printed == ["None"]
