"""`encore copy`: copied keys, output, logs and metrics."""

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
from tests.cli.support import SlowLog, command, finish, log_lines, read, start, write
from tests.storage.support import put

KINDS = {"directory": "{}", "sqlite": "sqlite:{}.db", "memory": "memory:"}
MANY = {f"{number:03}": b"value" for number in range(300)}
"""More keys than fit in a pipe as log lines."""


def opened(name: str) -> AbstractStore:
    return StoreName.parse(name).open_target(EventManager())


def keys_of(name: str) -> set[str]:
    with opened(name) as store:
        return set(store.query_keys())


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("from_", ["directory", "sqlite"])
def test_copy_between_kinds_keeps_data_and_metadata(encore: Encore, tmp_path: Path, from_: str, to: str) -> None:
    source, target = KINDS[from_].format(tmp_path / "from"), KINDS[to].format(tmp_path / "to")
    with opened(source) as store:
        put(store, "a", b"one", {"n": 1})
        put(store, "b/c", b"three")

    result = encore("copy", source, target, "--verify")

    assert (result.status, result.last_line, result.err) == (0, "2 of 2 keys copied", "")
    if to != "memory":
        with opened(target) as store:
            assert {key: store.get(key).metadata for key in store.query_keys()} == {"a": {"n": 1}, "b/c": {}}
            assert (store.to_bytes("a"), store.to_bytes("b/c")) == (b"one", b"three")


@pytest.mark.parametrize("to", KINDS.values())
def test_memory_source_is_empty(encore: Encore, tmp_path: Path, to: str) -> None:
    result = encore("copy", "memory:", to.format(tmp_path / "to"))

    assert (result.status, result.last_line) == (0, "0 of 0 keys copied")


def test_round_trip_restores_files(source: Path, tmp_path: Path) -> None:
    there = command("copy", source, f"sqlite:{tmp_path / 'a.db'}", cwd=tmp_path)
    back = command("copy", "sqlite:a.db", "back", "--verify", cwd=tmp_path)

    assert (there.status, there.err, back.status, back.err) == (0, "", 0, "")
    assert read(tmp_path / "back") == FILES


def test_metadata_files_are_not_keys(encore: Encore, source: Path, tmp_path: Path) -> None:
    FileSystemStore(source, event_manager=EventManager()).set_metadata("a.txt", {"n": 1})
    assert (source / ".encore").is_dir()

    encore("copy", source, f"sqlite:{tmp_path / 'a.db'}")

    assert keys_of(f"sqlite:{tmp_path / 'a.db'}") == set(FILES)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [("*", set(FILES)), ("*.txt", {"a.txt", "b/c.txt"}), ("b/*", {"b/c.txt", "b/d.bin"})],
)
def test_pattern_selects_keys(encore: Encore, source: Path, tmp_path: Path, pattern: str, keys: set[str]) -> None:
    result = encore("copy", source, tmp_path / "target", "--pattern", pattern)

    assert (result.status, result.last_line) == (0, f"{len(keys)} of {len(keys)} keys copied")
    assert set(read(tmp_path / "target")) == keys


@pytest.mark.parametrize("scheme", ["directory", "sqlite"])
def test_pattern_without_matches_is_reported(encore: Encore, source: Path, tmp_path: Path, scheme: str) -> None:
    encore("copy", source, f"sqlite:{tmp_path / 'a.db'}")
    from_ = source if scheme == "directory" else f"sqlite:{tmp_path / 'a.db'}"

    result = encore("copy", from_, tmp_path / "target", "--pattern", "nothing*")

    assert (result.status, result.last_line) == (0, "0 of 0 keys copied")
    assert "no key in the source matches the pattern 'nothing*'\n" in result.out


@pytest.mark.parametrize(
    ("options", "commits"), [((), 1), (("--transaction-size", 1), 4), (("--transaction-size", 3), 2)]
)
def test_transaction_size_sets_the_number_of_commits(
    encore: Encore, source: Path, options: tuple[object, ...], commits: int
) -> None:
    result = encore("copy", source, "memory:", *options)

    assert f"commits: {commits}, rollbacks: 0, errors: 0, in " in result.out


def test_summary_has_a_row_for_each_operation(encore: Encore, source: Path) -> None:
    result = encore("copy", source, "memory:")

    heading, _rule, *rows = [line.split() for line in result.out.splitlines() if line.strip()]
    assert heading == ["store", "operation", "count", "misses", "errors", "bytes", "bytes/s", "p50", "p99"]
    assert [row[:7] for row in rows[:5]] == [
        ["source", "get", "4", "0", "0", "16.4", "kB"],
        ["source", "get_metadata", "4", "0", "0", "-", "-"],
        ["source", "query", "1", "0", "0", "-", "-"],
        ["target", "query", "1", "0", "0", "-", "-"],
        ["target", "set", "4", "0", "0", "16.4", "kB"],
    ]


class TestRepeatedCopy:
    """Running the same command again."""

    @pytest.mark.parametrize("to", ["directory", "sqlite"])
    def test_unchanged_keys_are_skipped(self, encore: Encore, source: Path, tmp_path: Path, to: str) -> None:
        target = KINDS[to].format(tmp_path / "target")
        encore("copy", source, target)

        result = encore("copy", source, target)

        assert (result.status, result.last_line) == (0, "4 of 4 keys copied (4 already up to date)")
        assert " set " not in result.out

    def test_modified_file_is_copied_again(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, tmp_path / "target")
        (source / "a.txt").write_bytes(b"two")
        later = (tmp_path / "target" / "a.txt").stat().st_mtime + 1
        os.utime(source / "a.txt", (later, later))

        result = encore("copy", source, tmp_path / "target")

        assert (result.status, result.last_line) == (0, "4 of 4 keys copied (3 already up to date)")
        assert (tmp_path / "target" / "a.txt").read_bytes() == b"two"

    def test_keys_excluded_before_are_copied(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, tmp_path / "target", "--pattern", "b/*")

        result = encore("copy", source, tmp_path / "target")

        assert (result.status, result.last_line) == (0, "4 of 4 keys copied (2 already up to date)")
        assert read(tmp_path / "target") == FILES


class TestInsideTheSource:
    """Targets and log files inside the source directory."""

    @pytest.mark.parametrize("target", ["backup", "deep/in/it", "sqlite:backup.db", "sqlite:b/backup.db"])
    def test_target_inside_the_source_is_not_copied(
        self, encore: Encore, source: Path, monkeypatch: pytest.MonkeyPatch, target: str
    ) -> None:
        monkeypatch.chdir(source)

        for _ in range(2):
            result = encore("copy", ".", target, "--transaction-size", 1)
            assert result.status == 0

        assert result.last_line == "4 of 4 keys copied (4 already up to date)"
        assert keys_of(target) == set(FILES)

    def test_log_file_inside_the_source_is_not_copied(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        result = encore("copy", source, tmp_path / "target", "--log-file", source / "b" / "log")

        assert result.status == 0
        assert (source / "b" / "log").stat().st_size
        assert set(read(tmp_path / "target")) == set(FILES)


class TestReporting:
    """Logs, progress lines and metrics."""

    def test_log_file_has_a_json_line_for_each_event(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        for _ in range(2):
            encore("copy", source, f"sqlite:{tmp_path / 'a.db'}", "--log-file", tmp_path / "log")

        lines = log_lines(tmp_path / "log")
        sets = [line["key"] for line in lines if line.get("operation") == "set"]
        assert sorted(sets) == sorted(FILES)
        assert [line["event"] for line in lines].count("store.transaction.committed") == 2  # one for each run

    def test_console_log_is_readable(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        encore("copy", source, "memory:", "--log-file", tmp_path / "log", "--log-format", "console")

        first, *_ = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert re.search(r"\[info *\] store\.operation\.ended .*operation='query'", first)
        assert "\x1b" not in first

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_full_log_device_does_not_stop_the_copy(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        result = encore("copy", source, tmp_path / "target", "--log-file", "/dev/full")

        assert (result.status, result.err) == (0, "")
        assert "4 of 4 keys copied" in result.out
        assert "the log file '/dev/full' is incomplete: No space left on device" in result.out
        assert "; listener errors: " in result.out
        assert read(tmp_path / "target") == FILES

    @pytest.mark.parametrize(
        ("options", "is_shown"), [((), True), (("--progress",), True), (("--no-progress",), False)]
    )
    def test_progress_is_printed_as_lines_without_a_terminal(
        self, encore: Encore, source: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], is_shown: bool
    ) -> None:
        monkeypatch.setattr(session, "PlainProgress", functools.partial(PlainProgress, interval=0))

        result = encore("copy", source, "memory:", *options)

        assert ("copying: 3 of 4\n" in result.out) == is_shown
        assert "\x1b" not in result.out

    def test_port_serves_metrics_during_the_copy(self, tmp_path: Path, slow_log: SlowLog) -> None:
        source = write(tmp_path / "source", MANY)
        target = f"sqlite:{tmp_path / 'a.db'}"
        process = start("copy", source, target, "--transaction-size", 300, "--port", 0, "--log-file", slow_log.path)
        assert process.stdout is not None
        page, metrics = process.stdout.readline(), process.stdout.readline()
        address = metrics.removeprefix("metrics: ").strip()
        assert page == f"page: {address.removesuffix('metrics')}\n"
        for key in ("000", "001"):  # the first is counted before the second is logged
            slow_log.wait_for("store.operation.ended", operation="set", key=key)

        with urllib.request.urlopen(address) as response:
            scraped = response.read().decode()
        slow_log.drain()

        assert finish(process).status == 0
        assert 'encore_storage_transactions_in_progress{store="target"} 1\n' in scraped
        sets = re.search(
            r'^encore_storage_operation_duration_seconds_count{operation="set",outcome="ok",store="target"} (.*)$',
            scraped,
            re.MULTILINE,
        )
        assert sets
        assert 1 <= float(sets[1]) < 300

    def test_port_prints_the_addresses(self, encore: Encore, source: Path) -> None:
        with_port = encore("copy", source, "memory:", "--port", 0)
        without = encore("copy", source, "memory:")

        assert re.match(r"page: (http://127\.0\.0\.1:\d+/)\nmetrics: \1metrics\n", with_port.out)
        assert "page" not in without.out
        assert "metrics" not in without.out


class TestFailures:
    """Failed keys have a line each, and the status is 1."""

    def test_keys_invalid_in_the_target_fail(self, encore: Encore, tmp_path: Path) -> None:
        long = "x" * 300
        with SqliteStore(tmp_path / "a.db", event_manager=EventManager()) as store:
            for key in ("a", "a/b", "c", long):
                store.from_bytes(key, b"1")

        result = encore("copy", f"sqlite:{tmp_path / 'a.db'}", tmp_path / "target")

        assert (result.status, result.last_line) == (1, "2 of 4 keys copied, 2 failed")
        slash, name = result.err.splitlines()
        assert slash.startswith("encore: failed to copy 'a/b': 'a/b' cannot be a key: one of its parents")
        assert name.startswith(f"encore: failed to copy {long!r}: ")
        assert set(read(tmp_path / "target")) == {"a", "c"}

    def test_verify_detects_changed_bytes(self, tmp_path: Path, slow_log: SlowLog) -> None:
        source, database = write(tmp_path / "source", MANY), tmp_path / "a.db"
        process = start(
            "copy", source, f"sqlite:{database}", "--transaction-size", 300, "--verify", "--log-file", slow_log.path
        )
        slow_log.wait_for("store.transaction.committed")
        spoil(database, "299")
        slow_log.drain()

        result = finish(process)

        assert (result.status, result.out.splitlines()[-1]) == (1, "299 of 300 keys copied, 1 failed")
        assert result.err == "encore: failed to copy '299': the bytes in the target differ from the source\n"


def spoil(database: Path, key: str) -> None:
    """Overwrite the bytes of the value in the database."""
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE chunk SET data = ? WHERE blob = (SELECT blob FROM entry WHERE key = ?)", (b"VALUE", key)
        )
    connection.close()
