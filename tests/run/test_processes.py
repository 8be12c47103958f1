"""The counting of several processes: forks, kills, many short ones."""

from __future__ import annotations

import signal
from pathlib import Path

from encore_storage.run.report import read_report
from tests.run.counting_support import operation, run, start, store_of


def test_forked_child_counts_for_itself(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
store.from_bytes("a", b"12345")
for number in range(3):
    if os.fork() == 0:
        for _ in range(number):
            store.to_bytes("a")
        os._exit(0)
    os.wait()
store.to_bytes("a")
""",
    )

    report = read_report(tmp_path)
    assert report.processes == 3  # one of the children used no storage
    assert operation(tmp_path, "get").outcomes == {"ok": 4}
    assert operation(tmp_path, "set").outcomes == {"ok": 1}
    assert len(report.slowest) == 5


def test_tree_of_processes_is_counted(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
import subprocess
depth = int(os.environ.get("DEPTH", 2))
if depth:
    subprocess.run([sys.executable, *sys.orig_argv[1:]], env=os.environ | {"DEPTH": str(depth - 1)}, check=True)
for _ in range(10):
    store.from_bytes("a", b"1")
    if os.fork() == 0:
        store.to_bytes("a")
        os._exit(0)
    os.wait()
""",
    )

    report = read_report(tmp_path)
    assert report.processes == 3 * 11
    assert operation(tmp_path, "set").count == operation(tmp_path, "get").count == 3 * 10


def test_threads_are_counted_exactly(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
def work():
    for number in range(500):
        store.from_bytes(str(number % 7), b"12345")
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
    )

    found = operation(tmp_path, "set")
    assert (found.count, found.bytes, found.latencies.total()) == (4000, 20000, 4000)


def test_completed_operations_of_a_killed_process_are_counted(tmp_path: Path) -> None:
    program = """
class Endless:
    def read(self, size=-1, /):
        if self.calls == 3:
            print("ready", flush=True)
            sys.stdin.read()
        self.calls += 1
        return b"12345"
    calls = 0
for number in range(100):
    store.from_bytes(str(number), b"12345")
with store.transaction("import"):
    store.to_bytes("1")
store.set_data("endless", Endless())
"""
    with start(tmp_path, program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert read_report(tmp_path).running == 1
        process.send_signal(signal.SIGKILL)

    report = read_report(tmp_path)
    assert (report.running, report.unreadable, report.processes) == (0, 0, 1)
    assert operation(tmp_path, "set").outcomes == {"ok": 100}
    assert store_of(report).transactions == {"committed": 1}


def test_kills_at_any_moment_leave_whole_counts(tmp_path: Path) -> None:
    program = """
from tests.subscribers.support import end
manager.emit(end(duration=0.5, bytes=7, attempts=3))
print("ready", flush=True)
while True:
    manager.emit(end(duration=0.5, bytes=7, attempts=3))
"""
    processes = [start(tmp_path, program) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        process.kill()
        process.communicate()

    found = operation(tmp_path, "get")
    assert found.count > 0
    assert (found.seconds, found.bytes, found.retries) == (found.count / 2, found.count * 7, found.count * 2)
    assert read_report(tmp_path).processes == 4


def test_many_short_processes_leave_few_files(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        """
from tests.subscribers.support import end
store.from_bytes("a", b"12345")
most = 0
for number in range(300):
    if os.fork() == 0:
        store.to_bytes("a")
        manager.emit(end(duration=1.0 + number, key=str(number)))
        with __import__("contextlib").suppress(KeyError):
            store.to_bytes("missing")
        os._exit(0)
    os.wait()
    most = max(most, sum(name.endswith(".cells") for name in os.listdir(sys.argv[1])))
print(most)
""",
    )

    report = read_report(tmp_path)
    assert int(output) < 30
    assert report.processes == 301
    assert operation(tmp_path, "get").outcomes == {"ok": 600, "miss": 300}
    assert [entry["key"] for entry in report.slowest] == ["299", "298", "297", "296", "295"]
    assert (tmp_path / "ended.json").stat().st_size < 100_000


def test_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    run(tmp_path, 'store.from_bytes("a", b"1")')
    (tmp_path / "1-0123456789abcdef.cells").write_bytes(bytes(65536))

    report = read_report(tmp_path)

    assert (report.unreadable, report.count) == (1, 1)
