"""The command `encore copy`: what arrives, what is said, and what is written beside."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import urllib.request
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.cli import session
from encore_storage.cli.names import StoreName
from encore_storage.cli.report import PlainProgress
from encore_storage.stores import FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore
from tests.cli.conftest import FILES, Encore
from tests.cli.support import SlowLog, command, done, log_lines, read, start, write
from tests.storage.support import put

KINDS = {"directory": "{}", "sqlite": "sqlite:{}.db", "memory": "memory:"}
MANY = {f"{number:03}": b"value" for number in range(300)}
"""So many that their lines in a log don't fit in a pipe."""


def opened(name: str) -> AbstractStore:
    return StoreName.parse(name).open_target(EventManager())


def keys_of(name: str) -> set[str]:
    with opened(name) as store:
        return set(store.query_keys())


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("from_", ["directory", "sqlite"])
def test_every_kind_is_copied_into_every_other_with_its_metadata(
    encore: Encore, tmp_path: Path, from_: str, to: str
) -> None:
    source, target = KINDS[from_].format(tmp_path / "from"), KINDS[to].format(tmp_path / "to")
    with opened(source) as store:
        put(store, "a", b"one", {"n": 1})
        put(store, "b/c", b"three")

    done = encore("copy", source, target, "--verify")

    assert (done.status, done.last_line, done.err) == (0, "2 of 2 keys have arrived", "")
    if to != "memory":
        with opened(target) as store:
            assert {key: store.get(key).metadata for key in store.query_keys()} == {"a": {"n": 1}, "b/c": {}}
            assert (store.to_bytes("a"), store.to_bytes("b/c")) == (b"one", b"three")


@pytest.mark.parametrize("to", KINDS.values())
def test_a_memory_is_empty_when_the_command_begins(encore: Encore, tmp_path: Path, to: str) -> None:
    done = encore("copy", "memory:", to.format(tmp_path / "to"))

    assert (done.status, done.last_line) == (0, "0 of 0 keys have arrived")


def test_files_come_back_as_they_were(source: Path, tmp_path: Path) -> None:
    there = command("copy", source, f"sqlite:{tmp_path / 'a.db'}", cwd=tmp_path)
    back = command("copy", "sqlite:a.db", "back", "--verify", cwd=tmp_path)

    assert (there.status, there.err, back.status, back.err) == (0, "", 0, "")
    assert read(tmp_path / "back") == FILES


def test_what_a_store_keeps_for_itself_is_no_key(encore: Encore, source: Path, tmp_path: Path) -> None:
    FileSystemStore(source, event_manager=EventManager()).set_metadata("a.txt", {"n": 1})
    assert (source / ".encore").is_dir()

    encore("copy", source, f"sqlite:{tmp_path / 'a.db'}")

    assert keys_of(f"sqlite:{tmp_path / 'a.db'}") == set(FILES)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [("*", set(FILES)), ("*.txt", {"a.txt", "b/c.txt"}), ("b/*", {"b/c.txt", "b/d.bin"})],
)
def test_only_keys_that_match_the_pattern_are_copied(
    encore: Encore, source: Path, tmp_path: Path, pattern: str, keys: set[str]
) -> None:
    done = encore("copy", source, tmp_path / "target", "--pattern", pattern)

    assert (done.status, done.last_line) == (0, f"{len(keys)} of {len(keys)} keys have arrived")
    assert set(read(tmp_path / "target")) == keys


@pytest.mark.parametrize("scheme", ["directory", "sqlite"])
def test_a_pattern_that_no_key_matches_is_told(encore: Encore, source: Path, tmp_path: Path, scheme: str) -> None:
    encore("copy", source, f"sqlite:{tmp_path / 'a.db'}")
    from_ = source if scheme == "directory" else f"sqlite:{tmp_path / 'a.db'}"

    done = encore("copy", from_, tmp_path / "target", "--pattern", "nothing*")

    assert (done.status, done.last_line) == (0, "0 of 0 keys have arrived")
    assert "no key of the source matches the pattern 'nothing*'\n" in done.out


@pytest.mark.parametrize(
    ("options", "commits"), [((), 1), (("--transaction-size", 1), 4), (("--transaction-size", 3), 2)]
)
def test_so_many_keys_are_committed_together(
    encore: Encore, source: Path, options: tuple[object, ...], commits: int
) -> None:
    done = encore("copy", source, "memory:", *options)

    assert f"commits: {commits}, rollbacks: 0, errors: 0, in " in done.out


def test_the_summary_tells_of_each_operation(encore: Encore, source: Path) -> None:
    done = encore("copy", source, "memory:")

    heading, _rule, *rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert heading == ["store", "operation", "count", "misses", "errors", "bytes", "bytes/s", "p50", "p99"]
    assert [row[:7] for row in rows[:5]] == [
        ["source", "get", "4", "0", "0", "16.4", "kB"],
        ["source", "get_metadata", "4", "0", "0", "-", "-"],
        ["source", "query", "1", "0", "0", "-", "-"],
        ["target", "query", "1", "0", "0", "-", "-"],
        ["target", "set", "4", "0", "0", "16.4", "kB"],
    ]


class TestAgain:
    """The same command once more."""

    @pytest.mark.parametrize("to", ["directory", "sqlite"])
    def test_what_is_unchanged_is_skipped(self, encore: Encore, source: Path, tmp_path: Path, to: str) -> None:
        target = KINDS[to].format(tmp_path / "target")
        encore("copy", source, target)

        done = encore("copy", source, target)

        assert (done.status, done.last_line) == (0, "4 of 4 keys have arrived (4 of them before)")
        assert " set " not in done.out

    def test_a_file_that_was_modified_since_is_copied_again(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, tmp_path / "target")
        (source / "a.txt").write_bytes(b"two")
        later = (tmp_path / "target" / "a.txt").stat().st_mtime + 1
        os.utime(source / "a.txt", (later, later))

        done = encore("copy", source, tmp_path / "target")

        assert (done.status, done.last_line) == (0, "4 of 4 keys have arrived (3 of them before)")
        assert (tmp_path / "target" / "a.txt").read_bytes() == b"two"

    def test_what_was_left_out_arrives(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, tmp_path / "target", "--pattern", "b/*")

        done = encore("copy", source, tmp_path / "target")

        assert (done.status, done.last_line) == (0, "4 of 4 keys have arrived (2 of them before)")
        assert read(tmp_path / "target") == FILES


class TestInsideTheSource:
    """Stores and logs that lie in the source directory, or around it."""

    @pytest.mark.parametrize("target", ["backup", "deep/in/it", "sqlite:backup.db", "sqlite:b/backup.db"])
    def test_a_target_is_not_copied_into_itself(
        self, encore: Encore, source: Path, monkeypatch: pytest.MonkeyPatch, target: str
    ) -> None:
        monkeypatch.chdir(source)

        for _ in range(2):
            done = encore("copy", ".", target, "--transaction-size", 1)
            assert done.status == 0

        assert done.last_line == "4 of 4 keys have arrived (4 of them before)"
        assert keys_of(target) == set(FILES)

    def test_a_log_is_not_copied(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        done = encore("copy", source, tmp_path / "target", "--log-file", source / "b" / "log")

        assert done.status == 0
        assert (source / "b" / "log").stat().st_size
        assert set(read(tmp_path / "target")) == set(FILES)

    def test_files_that_only_begin_like_the_target_are_copied(self, encore: Encore, source: Path) -> None:
        write(source, {"backup-of-a": b"1", "backup.txt": b"2"})

        encore("copy", source, source / "backup")

        assert set(read(source / "backup")) == {*FILES, "backup-of-a", "backup.txt"}


class TestTellsAsItGoes:
    """Logs, lines and metrics."""

    def test_the_log_has_a_line_in_json_for_each_event(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        for _ in range(2):
            encore("copy", source, f"sqlite:{tmp_path / 'a.db'}", "--log-file", tmp_path / "log")

        lines = log_lines(tmp_path / "log")
        sets = [line["key"] for line in lines if line.get("operation") == "set"]
        assert sorted(sets) == sorted(FILES)
        assert [line["event"] for line in lines].count(
            "store.transaction.committed"
        ) == 2  # the second run adds its own

    def test_the_log_can_be_for_people(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, "memory:", "--log-file", tmp_path / "log", "--log-format", "console")

        first, *_ = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert re.search(r"\[info *\] store\.operation\.ended .*operation='query'", first)
        assert "\x1b" not in first

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
    def test_a_log_that_cannot_be_written_keeps_nothing_from_arriving(
        self, encore: Encore, source: Path, tmp_path: Path
    ) -> None:
        done = encore("copy", source, tmp_path / "target", "--log-file", "/dev/full")

        assert (done.status, done.err) == (0, "")
        assert "4 of 4 keys have arrived" in done.out
        assert "the log file '/dev/full' is incomplete: No space left on device" in done.out
        assert "; failures of subscribers, which the stores did not notice: " in done.out
        assert read(tmp_path / "target") == FILES

    @pytest.mark.parametrize(("options", "is_told"), [((), True), (("--progress",), True), (("--no-progress",), False)])
    def test_lines_say_how_far_it_is_where_there_is_no_terminal(
        self, encore: Encore, source: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], is_told: bool
    ) -> None:
        monkeypatch.setattr(session, "PlainProgress", functools.partial(PlainProgress, interval=0))

        done = encore("copy", source, "memory:", *options)

        assert ("copying: 3 of 4\n" in done.out) == is_told
        assert "\x1b" not in done.out

    def test_metrics_are_served_while_it_runs(self, tmp_path: Path, slow_log: SlowLog) -> None:
        source = write(tmp_path / "source", MANY)
        target = f"sqlite:{tmp_path / 'a.db'}"
        process = start("copy", source, target, "--transaction-size", 300, "--port", 0, "--log-file", slow_log.path)
        assert process.stdout is not None
        page, metrics = process.stdout.readline(), process.stdout.readline()
        address = metrics.removeprefix("metrics: ").strip()
        assert page == f"page: {address.removesuffix('metrics')}\n"
        for key in ("000", "001"):  # the first has been counted once the second is logged
            slow_log.wait_for("store.operation.ended", operation="set", key=key)

        with urllib.request.urlopen(address) as response:
            scraped = response.read().decode()
        slow_log.drain()

        assert done(process).status == 0
        assert 'encore_storage_transactions_in_progress{store="target"} 1.0' in scraped
        sets = re.search(
            r'^encore_storage_operation_duration_seconds_count{operation="set",outcome="ok",store="target"} (.*)$',
            scraped,
            re.MULTILINE,
        )
        assert sets
        assert 1 <= float(sets[1]) < 300

    def test_the_addresses_of_the_page_and_the_metrics_are_told(self, encore: Encore, source: Path) -> None:
        with_port = encore("copy", source, "memory:", "--port", 0)
        without = encore("copy", source, "memory:")

        assert re.match(r"page: (http://127\.0\.0\.1:\d+/)\nmetrics: \1metrics\n", with_port.out)
        assert "page" not in without.out
        assert "metrics" not in without.out


class TestFailures:
    """What does not arrive is told, one line for each key, and the status is 1."""

    def test_keys_that_the_target_cannot_hold(self, encore: Encore, tmp_path: Path) -> None:
        long = "x" * 300
        with SqliteStore(tmp_path / "a.db", event_manager=EventManager()) as store:
            for key in ("a", "a/b", "c", long):
                store.from_bytes(key, b"1")

        done = encore("copy", f"sqlite:{tmp_path / 'a.db'}", tmp_path / "target")

        assert (done.status, done.last_line) == (1, "2 of 4 keys have arrived, 2 failed")
        slash, name = done.err.splitlines()
        assert slash.startswith("encore: 'a/b' did not arrive: 'a/b' cannot be a key: one of its parents")
        assert name.startswith(f"encore: {long!r} did not arrive: ")
        assert set(read(tmp_path / "target")) == {"a", "c"}

    def test_what_arrived_as_other_bytes_is_found_by_verifying(self, tmp_path: Path, slow_log: SlowLog) -> None:
        source, database = write(tmp_path / "source", MANY), tmp_path / "a.db"
        process = start(
            "copy", source, f"sqlite:{database}", "--transaction-size", 300, "--verify", "--log-file", slow_log.path
        )
        slow_log.wait_for("store.transaction.committed")
        spoil(database, "299")
        slow_log.drain()

        told = done(process)

        assert (told.status, told.out.splitlines()[-1]) == (1, "299 of 300 keys have arrived, 1 failed")
        assert told.err == "encore: '299' did not arrive: what arrived is not what was read\n"


def spoil(database: Path, key: str) -> None:
    """Put other bytes of the same size where the value of the key is."""
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE chunk SET data = ? WHERE blob = (SELECT blob FROM entry WHERE key = ?)", (b"VALUE", key)
        )
    connection.close()
