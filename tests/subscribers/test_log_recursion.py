"""Log lines that are kept in an observed store: what the thread does while it writes a line is not logged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from encore_events import EventManager, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber
from tests.storage.support import LONG

Call = Callable[[str], object]


class CallingLogger:
    """A logger that calls a function with the key of each line."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.keys = list[str]()

    def msg(self, **line: Any) -> None:
        self.keys.append(line.get("key", "?"))
        self.call(self.keys[-1])

    debug = info = warning = error = msg


def subscriber(call: Call, **options: Any) -> tuple[CallingLogger, LogSubscriber]:
    target = CallingLogger(call)
    bound = structlog.make_filtering_bound_logger(logging.NOTSET)
    logger = structlog.wrap_logger(target, wrapper_class=bound, processors=[])
    return target, LogSubscriber(logger=logger, level="debug", **options)


@pytest.fixture
def store(manager: EventManager) -> DictMemoryStore:
    return DictMemoryStore(event_manager=manager)


@pytest.fixture
def failures(manager: EventManager) -> Iterator[EventRecorder]:
    with EventRecorder(manager, ListenerErrorEvent) as recorder:
        yield recorder


def test_lines_can_be_kept_in_an_observed_store(
    manager: EventManager, store: DictMemoryStore, failures: EventRecorder
) -> None:
    archive = DictMemoryStore(name="archive", event_manager=manager)
    target, logs = subscriber(lambda key: archive.from_bytes(f"line {key}", b"1"))
    with logs.connect(manager):
        store.from_bytes("a", b"1")
        store.from_bytes("b", b"1")

    assert set(target.keys) == {"a", "b"}
    assert set(archive.query_keys()) == {"line a", "line b"}
    assert failures.events == []


def test_redaction_may_use_an_observed_store(
    manager: EventManager, store: DictMemoryStore, failures: EventRecorder
) -> None:
    names = DictMemoryStore(name="names", event_manager=manager)
    names.from_bytes("a", b"redacted")
    target, logs = subscriber(lambda _: None, keys=lambda key: names.to_bytes(key).decode())
    with logs.connect(manager):
        store.from_bytes("a", b"1")

    assert set(target.keys) == {"redacted"}
    assert failures.events == []


def test_two_subscribers_do_not_log_each_other_endlessly(
    manager: EventManager, store: DictMemoryStore, failures: EventRecorder
) -> None:
    archive = DictMemoryStore(name="archive", event_manager=manager)
    pairs = [subscriber(lambda key: archive.from_bytes(f"line {key}", b"1")) for _ in range(2)]
    with pairs[0][1].connect(manager), pairs[1][1].connect(manager):
        store.from_bytes("a", b"1")

    assert all({"a", "line a"} <= set(target.keys) <= {"a", "line a", "line line a"} for target, _ in pairs)
    assert failures.events == []


def test_other_threads_are_logged_meanwhile(manager: EventManager, store: DictMemoryStore) -> None:
    def work(key: str) -> None:
        if key == "a":
            thread = threading.Thread(target=store.from_bytes, args=("b", b"1"))
            thread.start()
            thread.join(LONG)

    target, logs = subscriber(work)
    with logs.connect(manager):
        store.exists("a")

    assert {"a", "b"} == set(target.keys)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_lines_after_one_that_failed_are_logged(
    manager: EventManager, store: DictMemoryStore, error: BaseException
) -> None:
    raised = list[BaseException]()

    def fail(_: str) -> None:
        if not raised:
            raised.append(error)
            raise error

    target, logs = subscriber(fail)
    with logs.connect(manager):
        try:
            store.exists("a")
        except KeyboardInterrupt as interrupt:
            assert interrupt is error  # noqa: PT017 (raised by one of the two)
        target.keys.clear()
        store.exists("b")

    assert set(target.keys) == {"b"}


def test_failure_names_the_method_of_the_subscriber(
    manager: EventManager, store: DictMemoryStore, failures: EventRecorder
) -> None:
    _, logs = subscriber(lambda _: 1 / 0)
    with logs.connect(manager):
        store.exists("a")

    listener: Any = failures.of(ListenerErrorEvent)[-1].listener
    assert listener.__qualname__ == "LogSubscriber._operation_ended"
