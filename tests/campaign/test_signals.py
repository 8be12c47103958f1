"""Signal handlers that use stores, at each function call of the library and at random times."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.errors import StoreError
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from tests.campaign.support import CASES
from tests.storage.support import STORES, TRANSACTIONAL
from tests.storage.test_signals import ACTS, CALLS, KINDS, SOON, swept

SHARDS = len(ACTS) + 1  # coprime to the number of acts, so that each call gets different ones
SECONDS = 10.0


@pytest.mark.parametrize("first", range(1, SHARDS + 1))
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("kind", "used"), KINDS)
def test_signal_handler_at_each_call_succeeds_or_fails_at_once_and_call_completes(
    kind: str, used: str, name: str, first: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property(CASES, swept(kind, used, name, tmp_path, stride=SHARDS, first=first))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", TRANSACTIONAL)
def test_signal_handler_at_random_times_loses_nothing(
    kind: str, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng, manager = random.Random(seed), EventManager()
    store = STORES[kind](tmp_path / "store", event_manager=manager)
    stores = [store, STORES[kind](tmp_path / ("store" if kind == "sqlite" else "other"), event_manager=manager)]
    recorder = EventRecorder(manager)
    served: list[tuple[int, str]] = []
    refused: list[StoreError] = []
    longest = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal longest
        began, which, key = time.monotonic(), rng.randrange(2), f"signal {len(served)}"
        try:
            stores[which].from_bytes(key, b"1")
            served.append((which, key))
        except StoreError as error:
            refused.append(error)
        longest = max(longest, time.monotonic() - began)
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.003))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    end, written = time.monotonic() + SECONDS, 0
    try:
        while time.monotonic() < end:
            store.from_bytes(f"own {written}", b"1")
            with store.transaction():
                store.from_bytes(f"own {written}", b"2")
                store.delete(f"own {written}")
                store.from_bytes(f"own {written}", b"3")
            assert store.to_bytes(f"own {written}") == b"3"
            written += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert longest < SOON
    assert len(served) > written / 100
    assert [key for which, key in served if not stores[which].exists(key)] == []
    changed = [event.key or "" for event in recorder.of(StoreModificationEvent)]
    assert sorted(key for key in changed if key.startswith("signal")) == sorted(key for _, key in served)
    assert len(recorder.of(StoreTransactionEndEvent)) == len(recorder.of(StoreTransactionStartEvent)) == written
    assert len(recorder.of(StoreProgressEndEvent)) == len(recorder.of(StoreProgressStartEvent))
    record_property(CASES, len(served) + len(refused))
