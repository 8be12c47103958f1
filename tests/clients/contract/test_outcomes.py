"""The contract of clients: one start and one end for each outcome, with the bytes that have moved."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreTransactionEndEvent
from tests.clients.contract.cases import DATA, AsyncCase, Case
from tests.clients.contract.clients import point
from tests.storage.support import settled

ADDED = DATA[::-1] + b"more"


def transactions(recorder: EventRecorder) -> list[str]:
    return [end.outcome for end in recorder.of(StoreTransactionEndEvent)]


@point("get")
@pytest.mark.usefixtures("every_step")
def test_value_that_is_got_is_one_operation(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    sent = case.sent()
    assert case.call(case.get, client, "a") == DATA

    end = case.end(recorder)
    assert (end.operation, end.outcome, end.key, end.attempts) == (case.operations["get"], "ok", case.key("a"), 1)
    assert end.bytes == (len(DATA) if case.has_bytes else 0)
    if sent is not None and case.has_bytes:
        assert (case.sent() or 0) - sent == end.bytes


@point("set")
@pytest.mark.usefixtures("every_step")
def test_value_that_is_stored_is_one_operation(case: Case, recorder: EventRecorder) -> None:
    client = case.observed(case.make_writer())
    accepted = case.accepted()
    case.call(case.put, client, "b", ADDED)
    case.flush(client)

    end = case.end(recorder)
    assert case.stored("b") == ADDED
    assert (end.operation, end.outcome, end.key) == (case.operations["put"], "ok", case.key("b"))
    assert end.bytes == (len(ADDED) if case.has_bytes else 0)
    if accepted is not None and case.has_bytes:
        assert (case.accepted() or 0) - accepted == end.bytes
    changed = [(event.action, event.key) for event in recorder.of(StoreModificationEvent) if event.store == case.store]
    assert changed == ([("set", case.key("b"))] if case.has_bytes else [])


@point("delete and list")
def test_value_that_is_deleted_is_not_listed(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    assert "a" in str(case.call(case.keys, client))
    case.call(case.delete, client, "a")

    ends = case.ends(recorder)
    assert case.stored("a") is None
    assert [(end.operation, end.outcome) for end in ends] == [
        (case.operations["list"], "ok"),
        (case.operations["delete"], "ok"),
    ]
    assert case.operations["list"] != "list" or ends[0].items == 1


@point("miss")
def test_missing_key_is_a_miss(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    with pytest.raises(Exception) if case.raises_miss else contextlib.nullcontext():  # noqa: PT011 (of many clients)
        assert case.call(case.get, client, "zz") is None

    end = case.end(recorder)
    assert (end.operation, end.outcome, end.bytes) == ("get", "miss", 0)
    assert end.error_type == ("not_found" if case.raises_miss else None)


@point("error")
def test_refused_call_is_an_error(case: Case, recorder: EventRecorder) -> None:
    client = case.observed(case.make_refused())
    with pytest.raises(Exception) as raised:  # noqa: PT011 (of many clients)
        case.call(case.fail, client)

    end = case.end(recorder)
    assert (end.outcome, end.error_type, end.bytes) == ("error", case.error_type, 0)
    assert end.error is not raised.value
    names = [type(error).__name__ for error in (raised.value, raised.value.__cause__)]
    assert str(end.error).partition(" ")[0] in names  # and no text of the client's


@point("reset in mid-body")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function ServerCursorMixin")  # as in a plain engine
def test_connection_that_is_lost_in_a_body_is_an_error(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    with case.broken(), pytest.raises(Exception):  # noqa: B017, PT011 (of many clients)
        case.call(case.get, client, "a")

    end = case.end(recorder)
    assert (end.outcome, end.error_type) == ("error", "connection")
    assert end.bytes <= 50_000


@point("early close")
def test_stream_that_is_closed_early_is_ok_with_what_was_read(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    stream = case.call(case.begin, client, "a")
    assert case.store not in [end.store for end in recorder.of(StoreProgressEndEvent)]
    case.call(case.close_stream, stream)

    assert (case.end(recorder).outcome, case.end(recorder).bytes) == ("ok", 2)


@point("collected unclosed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
def test_stream_that_is_collected_is_cancelled(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    stream = [case.call(case.begin, client, "a")]
    stream.clear()
    gc.collect()
    settled()

    assert (case.end(recorder).outcome, case.end(recorder).bytes) == ("cancelled", 2)


@point("cancelled")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
def test_call_that_is_cancelled_ends_as_cancelled(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    call, is_blocked = case.blocked(client, recorder)
    if isinstance(case, AsyncCase):
        case.call(cancelled, call, is_blocked)
    else:
        with interrupted(is_blocked), pytest.raises(KeyboardInterrupt):
            call()
    gc.collect()
    settled()

    assert case.end(recorder).outcome == "cancelled"


async def cancelled(call: Callable[[], Any], is_blocked: Callable[[], object]) -> None:
    """Call, and cancel the task once it is blocked."""
    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    while not is_blocked():  # noqa: ASYNC110 (a server is)
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def interrupted(is_blocked: Callable[[], object]) -> Iterator[None]:
    """Return a block that a signal interrupts once it is blocked."""
    main = threading.main_thread().ident or 0
    handled = threading.Event()

    def interrupt() -> None:
        while not is_blocked():
            time.sleep(0.005)
        while not handled.is_set():  # a signal just before a system call does not interrupt it
            signal.pthread_kill(main, signal.SIGUSR1)
            handled.wait(1)  # psycopg looks for signals every 0.1 s, and anew after each

    def handle(*_: object) -> None:
        if not handled.is_set():
            handled.set()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        handled.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


@point("server killed")
def test_server_that_is_killed_while_it_is_written_to_is_an_error(case: Case, recorder: EventRecorder) -> None:
    plain, write = case.killed()
    client = case.observed(plain)
    with pytest.raises(Exception):  # noqa: B017, PT011 (of many clients)
        case.call(write, client)

    *_, end = case.all_ends(recorder)
    assert (end.operation, end.outcome, end.error_type, end.bytes) == ("set", "error", "connection", 0)
    assert transactions(recorder) == ([] if case.has_bytes else ["rolled_back"])
    assert not recorder.of(StoreModificationEvent)


@point("retries")
def test_retries_are_attempts_of_one_operation(case: Case, recorder: EventRecorder) -> None:
    client = case.observed()
    with case.throttled():
        assert case.call(case.get, client, "a") == DATA
    with case.throttled():
        case.call(case.put, client, "b", ADDED)

    got, put = case.ends(recorder)
    assert (got.outcome, got.attempts, got.bytes) == ("ok", 3, len(DATA) if case.has_bytes else 0)
    assert (put.outcome, put.attempts, put.bytes) == ("ok", 3, len(ADDED) if case.has_bytes else 0)
    assert case.stored("b") == ADDED
