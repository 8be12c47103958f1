"""The directory of a group's cells: living, ended, killed and broken files."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encore_storage.processes import cell_directory, cell_reader, liveness
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cell_format import CHUNK
from encore_storage.processes.cells import Cells
from encore_storage.processes.ended import NAME
from tests.forking import fork, run_forking
from tests.processes.cell_support import LIVE, PAIR, child, counting, files, killed_child, path_of, total

COUNT = """
cells.add(("++", "pair"), 1, 2)
cells.set(("~<", "in progress"), 1, 123.5)
print("ready", flush=True)
sys.stdin.read()
"""
COUNT_MORE_AND_EXIT = """
cells.add(("++", "pair"), 1, 2)
print("ready", flush=True)
sys.stdin.readline()
cells.add(("++", "pair"), 1, 2)
cells.add(("+", "another"), 1)
os._exit(0)
"""
COUNT_FOR_EVER = """
print("ready", flush=True)
while True:
    cells.add(("++", "pair"), 1, 1)
"""


def test_living_processes_are_read_one_by_one(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    with child(directory, COUNT) as process:
        reading = directory.read()
        own = directory.read(cells)

    members = {member.pid: dict(member.blocks) for member in reading.members}
    assert members == {os.getpid(): {PAIR: [1, 2]}, process.pid: {PAIR: [1, 2], LIVE: [1, 123.5]}}
    assert reading.processes == own.processes == 2
    assert total(reading) == total(own) == [2, 4]
    assert not reading.ended


def test_killed_process_keeps_its_counts_and_loses_its_gauges(directory: CellDirectory) -> None:
    killed_child(directory, COUNT)

    reading = directory.read()

    assert (reading.processes, reading.ended) == (0, {PAIR: [1, 2]})


def test_process_that_ends_while_its_file_is_read_loses_nothing(
    directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child(directory, COUNT_MORE_AND_EXIT) as process:

        def ends_before(*arguments: int) -> bool:
            process.communicate("\n")
            return liveness.is_running(*arguments)

        monkeypatch.setattr(cell_reader, "is_running", ends_before)
        directory.fold()

    assert files(directory) == []
    assert directory.read().ended == {PAIR: [2, 4], ("+", "another"): [1]}


def test_fold_removes_the_files_of_ended_processes(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    killed = killed_child(directory, COUNT)

    vanished = directory.fold()

    assert [(one.pid, one.blocks) for one in vanished] == [(killed, {PAIR: [1, 2], LIVE: [1, 123.5]})]
    assert directory.fold() == []
    assert files(directory) == [cells.file and cells.file.path.name]
    assert total(directory.read()) == [2, 4]
    assert directory.read().ended == {PAIR: [1, 2]}


def test_process_that_closed_its_file_has_not_vanished(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    cells.set(LIVE, 1, 5)
    cells.close()

    assert directory.read().processes == 0
    assert directory.fold() == []
    assert (files(directory), directory.read().totals()) == ([], {PAIR: [1, 2]})


def test_many_restarts_leave_one_file_of_sums(directory: CellDirectory) -> None:
    for number in range(200):
        cells = counting(directory)
        cells.add(PAIR, 1, number)
        cells.close()
        directory.fold()

    assert sorted(path.name for path in directory.path.iterdir()) == [NAME, "folding.lock"]
    assert total(directory.read()) == [200, sum(range(200))]


def test_second_folder_waits_for_nothing(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    cells.close()

    with directory._folding() as first:
        assert first
        assert directory.fold() == []

    assert len(files(directory)) == 1


def test_fold_that_cannot_write_changes_nothing(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    cells.close()
    (directory.path / f"{NAME}.new").mkdir()

    with pytest.raises(OSError, match=NAME):
        directory.fold()

    assert total(directory.read()) == [1, 2]


def test_reader_of_a_folded_directory_reads_again(
    directory: CellDirectory, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells.add(PAIR, 1, 2)
    cells.close()
    plain, folded = directory._reader.read, list[bool]()

    def fold_before(names: frozenset[str]) -> list[cell_reader.Found]:
        if not folded:
            folded.append(True)
            CellDirectory(directory.path).fold()
        return plain(names)

    monkeypatch.setattr(directory._reader, "read", fold_before)

    assert total(directory.read()) == [1, 2]


def test_folded_file_that_could_not_be_removed_is_not_counted_again(
    directory: CellDirectory, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells.add(PAIR, 1, 2)
    cells.close()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it was killed before
        directory.fold()
    another = counting(directory)
    another.add(PAIR, 10, 20)
    another.close()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        listings = iter([directory._reader.names(), []])  # the second one fails
        patch.setattr(directory._reader, "names", lambda: next(listings, []))
        directory.fold()

    assert total(directory.read()) == [11, 22]


def test_cells_that_move_while_they_are_read_are_counted_once(
    directory: CellDirectory, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells.add(PAIR, 1, 2)
    plain = directory._reader.read

    def move_before(names: frozenset[str]) -> list[cell_reader.Found]:
        cells.move_to(directory.create())
        return plain(names)

    monkeypatch.setattr(directory._reader, "read", move_before)

    assert total(directory.read(cells)) == [1, 2]


def test_readers_see_all_counts_while_processes_are_folded(directory: CellDirectory) -> None:
    """A folder in another process, and one reading after the other: none misses a count or has it twice."""
    for _ in range(300):
        cells = counting(directory)
        cells.add(PAIR, 1, 1)
        cells.close()
    reader = CellDirectory(directory.path)
    process = multiprocessing.get_context("fork").Process(target=_fold_one_by_one, args=(directory.path,))
    process.start()
    seen = set()
    while process.is_alive():
        seen.add(tuple(total(reader.read())))
    process.join()

    assert seen | {tuple(total(reader.read()))} == {(300, 300)}
    assert (process.exitcode, files(directory)) == (0, [])


def _fold_one_by_one(path: Path) -> None:
    plain = cell_reader.CellReader.names
    cell_reader.CellReader.names = lambda self: plain(self)[:3]  # type: ignore[method-assign]  # few at a time
    directory = CellDirectory(path)
    while files(directory):
        directory.fold()


def test_killed_writer_leaves_no_half_of_a_change(directory: CellDirectory) -> None:
    """Kill a process at a random moment of its changes; the campaign kills thousands."""
    for _ in range(50):
        pid = _counting_child(directory)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    read = CellDirectory(directory.path)._reader.read(())
    assert len(read) == 50
    for found in read:
        first, *others = found.blocks[PAIR]
        assert first > 0
        assert others == [first]


def _counting_child(directory: CellDirectory) -> int:
    """Fork a child that counts for ever, and return its process id once it does."""
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        cells = counting(directory)
        cells.add(PAIR, 1, 1)
        os.write(writing, b".")
        while True:
            cells.add(PAIR, 1, 1)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return pid


def test_reader_sees_no_half_of_a_change_of_a_living_process(directory: CellDirectory) -> None:
    with child(directory, COUNT_FOR_EVER):
        seen = [total(directory.read()) for _ in range(2_000)]

    assert all(first == second for first, second in filter(None, seen))
    assert seen[-1] > seen[1]


BAD = {
    "empty": b"",
    "short": b"encore\0c",
    "zeros": bytes(CHUNK),
    "something else": b"something else" * CHUNK,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_file_is_skipped_reported_once_and_folded_away(
    directory: CellDirectory, cells: Cells, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    cells.add(PAIR, 1, 2)
    bad = directory.path / "999999999-0123456789abcdef.cells"
    bad.write_bytes(content)

    for _ in range(3):
        assert total(directory.read()) == [1, 2]
    directory.fold()

    assert [record.getMessage().count(bad.name) for record in caplog.records] == [1]
    assert not bad.exists()


@pytest.mark.parametrize("kind", ["version", "truncated", "used"])
def test_file_of_another_version_or_half_of_one_is_skipped(
    directory: CellDirectory, cells: Cells, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    cells.add(PAIR, 1, 2)
    path = path_of(directory, killed_child(directory, COUNT))
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        del content[100:]
    else:
        content[{"version": 8, "used": 48}[kind]] += 9
    path.write_bytes(content)

    assert total(directory.read()) == [1, 2]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_planted_file_is_skipped(
    directory: CellDirectory, cells: Cells, caplog: pytest.LogCaptureFixture, plant: Callable[[Path], object]
) -> None:
    cells.add(PAIR, 1, 2)
    plant(directory.path / "1-0123456789abcdef.cells")
    plant(directory.path / NAME)

    assert total(directory.read()) == [1, 2]


@given(
    position=st.integers(0, 300), content=st.binary(min_size=1, max_size=64), length=st.sampled_from([80, 200, CHUNK])
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_file_never_raises(
    directory: CellDirectory, caplog: pytest.LogCaptureFixture, position: int, content: bytes, length: int
) -> None:
    path = directory.path / "999999999-0123456789abcdef.cells"
    if not hasattr(test_damaged_file_never_raises, "whole"):
        cells = counting(directory)
        cells.add(PAIR, 1, 2)
        cells.set(LIVE, 1, 2)
        assert cells.file is not None
        test_damaged_file_never_raises.whole = cells.file.path.read_bytes()  # type: ignore[attr-defined]  # a cache
        cells.file.remove()
    damaged = bytearray(test_damaged_file_never_raises.whole)  # type: ignore[attr-defined]  # as above
    damaged[position : position + len(content)] = content
    path.write_bytes(damaged[:length])

    directory.read().totals()
    directory.fold()
    directory.read().totals()


@given(content=st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b'{"version":1,"folded":1,"blocks":[]}']))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_sums_never_raise(directory: CellDirectory, content: bytes) -> None:
    (directory.path / NAME).write_bytes(content)

    assert directory.read().totals() == {}
    cells = counting(directory)
    cells.add(PAIR, 1, 2)
    cells.close()
    directory.fold()
    assert total(directory.read()) == [1, 2]


def test_missing_directory_is_empty(tmp_path: Path) -> None:
    directory = CellDirectory(tmp_path / "missing")

    assert directory.read() == cell_directory.Reading({}, ())
    with pytest.raises(FileNotFoundError):
        directory.create()


def test_read_only_directory_is_an_error_of_create(directory: CellDirectory) -> None:
    printed = run_forking(
        """
import os, sys
from pathlib import Path
from encore_storage.processes.cell_directory import CellDirectory
os.chmod(sys.argv[1], 0o500)
if os.getuid() == 0:
    os.chmod(Path(sys.argv[1]).parent, 0o711)
    for parent in Path(sys.argv[1]).parents:
        if parent.stat().st_mode & 0o011 != 0o011 and parent.stat().st_uid == 0:
            os.chmod(parent, 0o711)
    os.chown(sys.argv[1], 65534, 65534)
    os.setuid(65534)
try:
    CellDirectory(Path(sys.argv[1])).create()
except PermissionError as error:
    print(type(error).__name__)
""",
        directory.path,
    )

    assert printed == ["PermissionError"]


def test_reused_process_id_is_another_process(directory: CellDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = killed_child(directory, COUNT)
    start_time = liveness.start_time
    monkeypatch.setattr(liveness, "start_time", lambda pid: 1 if pid == killed else start_time(pid))

    assert directory.read().processes == 0


def test_process_that_is_not_waited_for_has_ended(directory: CellDirectory) -> None:
    pid = _counting_child(directory)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie

    assert directory.read().processes == 0
    os.waitpid(pid, 0)


def test_program_replaced_by_exec_has_ended(directory: CellDirectory) -> None:
    with child(directory, COUNT.replace("sys.stdin.read()", "os.execvp('cat', ['cat'])")) as process:
        while directory.read().processes:
            assert process.poll() is None
        assert total(directory.read()) == [1, 2]
        assert [one.pid for one in directory.fold()] == [process.pid]


def test_unfinished_file_of_a_killed_process_is_removed(directory: CellDirectory, cells: Cells) -> None:
    (directory.path / "999999999-0123456789abcdef.new").touch()
    own = directory.path / f"{os.getpid()}-0123456789abcdef.new"
    own.touch()

    directory.fold()

    assert [name for name in files(directory) if name.endswith(".new")] == [own.name]


def test_repr_has_the_path(directory: CellDirectory) -> None:
    assert repr(directory) == f"<CellDirectory {str(directory.path)!r}>"


def test_reader_forgets_the_keys_of_ended_processes(directory: CellDirectory, cells: Cells) -> None:
    cells.add(PAIR, 1, 2)
    reader = CellDirectory(directory.path)
    for number in range(20):
        other = counting(directory)
        for each in range(20):
            other.add(("+", f"store-{number}", str(each)), 1)
        other.close()
        reader.fold()
        reader.read()

    assert len(reader._reader._keys) < 200
    assert len(reader.read().totals()) == 401
