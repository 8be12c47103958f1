"""Waiting until the next change of a file is detectable."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from encore_storage.stores.fingerprints import file_fingerprint, settled_file
from tests.cli.copies import rewrite


class TestSettledFiles:
    """Waiting until the next change of a file is detectable: two changes in one clock tick have the same times."""

    @pytest.mark.parametrize("number", range(5))
    def test_recently_written_file_is_waited_for(self, tmp_path: Path, number: int) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        before = settled_file(path.stat)
        rewrite(path)

        assert before is not None
        assert file_fingerprint(path.stat()) != file_fingerprint(before)

    def test_file_changed_meanwhile_does_not_settle(self, tmp_path: Path) -> None:
        path = tmp_path / "file"

        def look() -> os.stat_result:
            path.write_bytes(b"x")
            time.sleep(0.005)
            return path.stat()

        assert settled_file(look) is None

    @pytest.mark.parametrize(("seconds", "is_settled"), [(-3, True), (3600, False)])
    def test_whole_second_and_future_times_are_not_waited_for(
        self, tmp_path: Path, seconds: int, is_settled: bool
    ) -> None:
        (tmp_path / "file").touch()
        found = list((tmp_path / "file").stat())
        now = int(time.time()) + seconds
        made = os.stat_result([*found[:7], now, now, now], {"st_ctime_ns": now * 10**9, "st_mtime_ns": now * 10**9})

        began = time.monotonic()
        assert (settled_file(lambda: made) is not None) == is_settled
        assert time.monotonic() - began < 1
