"""The counting of one process."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.events import StoreProgressEndEvent
from encore_storage.observing import StoreObserver
from encore_storage.run.counting import RunSummary
from encore_storage.run.report import read_report
from tests.run.counting_support import operation, run, store_of
from tests.subscribers.support import FakeClock, end

pytestmark = pytest.mark.usefixtures("summary")


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def test_operations_are_counted_as_the_events_say(
    store: DictMemoryStore, tmp_path: Path, recorder: EventRecorder
) -> None:
    for number in range(5):
        store.from_bytes(str(number), b"12345")
        store.to_bytes(str(number))
    with pytest.raises(KeyError):
        store.to_bytes("missing")

    got, put = operation(tmp_path, "get"), operation(tmp_path, "set")
    gets = [event for event in recorder.of(StoreProgressEndEvent) if event.operation == "get"]
    assert (got.outcomes, got.bytes, got.count) == ({"ok": 5, "miss": 1}, 25, 6)
    assert got.seconds == pytest.approx(math.fsum(event.duration for event in gets))
    assert got.moving_seconds == pytest.approx(math.fsum(event.duration for event in gets if event.bytes))
    assert (put.outcomes, put.bytes, put.hit_ratio) == ({"ok": 5}, 25, None)
    assert got.hit_ratio == pytest.approx(5 / 6)


def test_retries_are_attempts_beyond_the_first(manager: EventManager, tmp_path: Path) -> None:
    manager.emit(end(attempts=3))
    manager.emit(end(attempts=1))

    assert operation(tmp_path, "get").retries == 2


def test_operation_within_another_takes_no_time_of_its_own(manager: EventManager, tmp_path: Path) -> None:
    manager.emit(end(duration=2.0))
    manager.emit(end(store="cache", duration=1.5, parent_id="1"))

    report = read_report(tmp_path)
    assert (report.count, report.seconds) == (2, 2.0)
    assert store_of(report, "cache").seconds == 1.5


def test_latencies_are_within_three_percent(manager: EventManager, tmp_path: Path) -> None:
    for number in range(1, 101):
        manager.emit(end(duration=number / 1000))

    latencies = operation(tmp_path, "get").latencies
    assert latencies.quantile(0.5) == pytest.approx(0.050, rel=0.03)
    assert latencies.quantile(0.99) == pytest.approx(0.099, rel=0.03)


def test_transactions_are_counted_by_outcome(store: DictMemoryStore, tmp_path: Path) -> None:
    for _ in range(3):
        with store.transaction("import"):
            store.from_bytes("a", b"1")
    for notes in ("import", "import", "cleanup", None):
        with pytest.raises(OSError, match="full"), store.transaction(notes):
            store.from_bytes("a", b"2")
            raise OSError("full")

    found = store_of(read_report(tmp_path))
    assert found.transactions == {"committed": 3, "rolled_back": 4}
    assert found.rollbacks == {"import": 2, "cleanup": 1, "": 1}
    assert found.transaction_seconds > 0


def test_slowest_operations_are_kept(manager: EventManager, tmp_path: Path) -> None:
    durations = [0.3, 0.1, 0.9, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6]
    for duration in durations:
        manager.emit(end(key=f"key {duration}", duration=duration))

    slowest = read_report(tmp_path).slowest
    assert [entry["key"] for entry in slowest] == [f"key {duration}" for duration in (0.9, 0.8, 0.7, 0.6, 0.5)]
    assert {name: slowest[0][name] for name in ("store", "operation", "duration", "bytes", "outcome")} == {
        "store": "archive",
        "operation": "get",
        "duration": 0.9,
        "bytes": 10,
        "outcome": "ok",
    }


def test_last_errors_are_kept_with_the_first_line_of_their_message(
    manager: EventManager, tmp_path: Path, clock: FakeClock
) -> None:
    for number in range(8):
        error = OSError(f"\nfailure {number}\nwith details")
        manager.emit(end(key=str(number), outcome="error", error=error, error_type="other"))
        clock.advance(1)

    errors = read_report(tmp_path).errors
    assert [entry["key"] for entry in errors] == ["3", "4", "5", "6", "7"]
    assert (errors[-1]["error"], errors[-1]["error_type"], errors[-1]["message"]) == ("OSError", "other", "failure 7")


def test_flood_of_errors_is_counted_and_keeps_few_texts(
    manager: EventManager, tmp_path: Path, clock: FakeClock
) -> None:
    for number in range(1000):
        manager.emit(end(key=str(number), outcome="error", error=OSError("full"), error_type="full"))
    assert max(int(entry["key"]) for entry in read_report(tmp_path).errors) < 15

    clock.advance(0.2)
    manager.emit(end(key="last", outcome="error", error=OSError("full"), error_type="full"))

    report = read_report(tmp_path)
    assert report.errors[-1]["key"] == "last"
    assert operation(tmp_path, "get").outcomes == {"error": 1001}


def test_error_without_an_exception_has_no_message(manager: EventManager, tmp_path: Path) -> None:
    manager.emit(end(outcome="error"))

    (entry,) = read_report(tmp_path).errors
    assert (entry["error"], entry["message"]) == (None, None)


def test_stores_beyond_the_cap_are_counted_together(manager: EventManager, tmp_path: Path) -> None:
    for number in range(250):
        for _ in range(2):
            manager.emit(end(store=f"store {number}"))

    report = read_report(tmp_path)
    assert (len(report.stores), report.count) == (201, 500)
    assert store_of(report, "_overflow").by_operation["get"].count == 100


def test_places_beyond_the_cap_are_counted_together(manager: EventManager, tmp_path: Path) -> None:
    observer = StoreObserver("archive", event_manager=manager)
    for number in range(250):
        transaction = observer.transaction(f"program.py:{number}")
        transaction.start()
        transaction.end("rolled_back")

    rollbacks = store_of(read_report(tmp_path)).rollbacks
    assert (len(rollbacks), rollbacks.total(), rollbacks["_overflow"]) == (201, 250, 50)


def test_event_outside_of_the_closed_sets_is_counted_as_other(manager: EventManager, tmp_path: Path) -> None:
    manager.emit(end(store=None, operation="frobnicate", outcome="fine"))

    found = operation(tmp_path, "other", "unknown")
    assert (found.count, found.outcomes) == (1, {"other": 1})


def test_process_takes_part_with_its_first_event(store: DictMemoryStore, tmp_path: Path) -> None:
    assert files(tmp_path) == []

    store.from_bytes("a", b"1")

    assert len(files(tmp_path)) == 1
    assert read_report(tmp_path).processes == 1


def test_directory_that_is_gone_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = EventManager()
    RunSummary(tmp_path / "gone").connect(manager)
    with caplog.at_level(logging.DEBUG):
        DictMemoryStore(event_manager=manager).from_bytes("a", b"1")

    assert caplog.records == []


def test_directory_that_is_removed_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    program = """
import logging, shutil
from tests.subscribers.support import end
logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
manager.emit(end())
shutil.rmtree(sys.argv[1])
for number in range(10_000):
    manager.emit(end(duration=number / 1000, store=f"store {number % 10}"))
if os.fork() == 0:
    manager.emit(end())
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""

    assert run(tmp_path, program) == "0\n"


def test_full_disk_is_logged_once(tmp_path: Path) -> None:
    program = """
import resource, logging
logging.basicConfig(format="%(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for number in range(10):
    store.from_bytes(str(number), b"1")
"""

    assert run(tmp_path, program) == (
        "the storage operations of this process are missing in the summary: [Errno 27] File too large\n"
    )


def test_repr_says_what_it_listens_to(summary: RunSummary) -> None:
    assert repr(summary).startswith("<RunSummary: listens to <EventManager")
