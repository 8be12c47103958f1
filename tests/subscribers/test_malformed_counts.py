"""Counts of other processes that are malformed: by another version of Encore, by a bug, or by an attacker."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition

from encore_storage.codec import dumps
from encore_storage.processes import ended
from encore_storage.processes.cell_directory import CellDirectory
from encore_storage.processes.cells import Cells
from encore_storage.server.ended import add_ended
from encore_storage.server.history import History
from encore_storage.subscribers import EncoreCollector, blocks
from encore_storage.subscribers.capping import capped_metrics
from tests.subscribers.support import SmallGroup

GOOD = (
    blocks.operation("shop", "get", "read", "ok", 3, 2, ""),
    blocks.measured(blocks.operation("shop", "get", "read", "error", 3, -1, "other"), True, 2, True),
    blocks.moved("shop", "get", "read"),
    blocks.in_progress("shop", "get", "read", 7),
    blocks.transaction("shop", "committed", 3, 2),
    blocks.transaction_in_progress("shop", 7),
    blocks.key_change("shop", "set"),
    blocks.store("shop", "memory"),
    blocks.listener_error("BaseEvent", "listener"),
    blocks.dropped("feed", "full"),
    blocks.overflow("store"),
    blocks.limit("store"),
    blocks.exemplar("shop", "get", "ok", 3),
)

NUMBERS = st.one_of(
    st.floats(), st.integers(), st.sampled_from([10**400, -1, 0, float("inf"), float("nan"), 1e308, 2**64])
)
TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(["", "-1", "-3", "99", "1" * 5000, "\ud800", "nan", "store"]))
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
)


@st.composite
def items(draw: st.DrawFn) -> tuple[Any, Any]:
    """Return a good block with a few changes."""
    key = list[Any](draw(st.sampled_from(GOOD)))
    values = draw(st.lists(NUMBERS, min_size=len(key[0]), max_size=len(key[0])))
    for change in draw(st.lists(st.sampled_from(["label", "more", "fewer", "rules", "values", "other"]), max_size=2)):
        if change == "label" and key:
            key[draw(st.integers(0, len(key) - 1))] = draw(TEXTS)
        elif change == "more":
            key.append(draw(TEXTS))
        elif change == "fewer" and key:
            key.pop()
        elif change == "rules" and key:
            key[0] = draw(st.text(alphabet="+>=~<?", max_size=6))
            values = draw(st.lists(NUMBERS, min_size=len(key[0]), max_size=len(key[0])))
        elif change == "values":
            values.append(draw(NUMBERS))
    choices: list[tuple[Any, Any]] = [*[(key, values)] * 5, (draw(ANYTHING), values), (key, draw(ANYTHING))]
    drawn: tuple[Any, Any] = draw(st.sampled_from(choices))
    return drawn


def check(directory: CellDirectory) -> None:
    """Do all that reads the counts of other processes."""
    registry = CollectorRegistry()
    collector = EncoreCollector(SmallGroup("shop", directory))
    registry.register(collector)
    history = History()
    for _ in range(2):
        for openmetrics in (False, True):
            collector.render(openmetrics=openmetrics)
        generate_latest(registry)
        openmetrics_exposition.generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no type hints
        add_ended(directory.read().ended, history)
        directory.fold()
    history.totals()
    dumps(history.changes(-1))


def sums_of(content: object) -> bytes:
    return json.dumps(content).encode()


FILES = st.one_of(
    st.binary(max_size=50),
    ANYTHING.map(sums_of),
    st.fixed_dictionaries({"version": st.just(1) | ANYTHING, "folded": ANYTHING, "blocks": ANYTHING}).map(sums_of),
    st.fixed_dictionaries(
        {"version": st.just(1), "folded": st.lists(TEXTS, max_size=2), "blocks": st.lists(items(), max_size=6)}
    ).map(sums_of),
)


@settings(max_examples=60, deadline=None)
@given(content=FILES)
def test_malformed_sums_never_raise(content: bytes) -> None:
    with TemporaryDirectory() as path:
        (Path(path) / ended.NAME).write_bytes(content)

        check(CellDirectory(Path(path), reduce=capped_metrics))


@settings(max_examples=30, deadline=None)
@given(
    found=st.lists(items(), max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=8)), max_size=3),
)
def test_malformed_cells_never_raise(found: Sequence[tuple[Any, Any]], changes: Sequence[tuple[int, bytes]]) -> None:
    with TemporaryDirectory() as path:
        directory, cells = CellDirectory(Path(path), reduce=capped_metrics), Cells()
        cells.move_to(directory.create())
        assert cells.file is not None
        for key, values in found:
            if isinstance(key, list) and key and all(isinstance(item, str) for item in key) and values:
                try:
                    numbers = [float(value) for value in values]
                except (TypeError, ValueError, OverflowError):
                    continue
                cells.set(tuple(key), *(numbers * len(key[0]))[: len(key[0])])
        file = cells.file.path
        cells.close()
        content = bytearray(file.read_bytes())
        for offset, more in changes:
            content[offset : offset + len(more)] = more
        file.write_bytes(content)

        check(directory)


@pytest.mark.parametrize(
    "broken", [b"{", b'{"version": 2}', b'{"version": 1, "folded": [], "blocks": [[["+"], [NaN]]]}']
)
def test_broken_sums_are_reported_once(broken: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ended.NAME).write_bytes(broken)
    directory = CellDirectory(tmp_path)
    for _ in range(3):
        directory.read()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_infinite_cap_never_raises(tmp_path: Path) -> None:
    stores = {blocks.moved(f"shop-{number}", "get", "read"): [1.0] for number in range(201)}
    ended.write(tmp_path, {**stores, blocks.limit("store"): [float("inf")]}, ())

    check(CellDirectory(tmp_path, reduce=capped_metrics))


def test_good_blocks_beside_broken_ones_are_kept(tmp_path: Path) -> None:
    good = blocks.moved("shop", "get", "read")
    content = {"version": 1, "folded": [], "blocks": [[good, [5]], [["++", "pair"], [1]], [["+", 7], [1]], 3]}
    (tmp_path / ended.NAME).write_text(json.dumps(content))

    assert CellDirectory(tmp_path).read().totals() == {good: [5]}
