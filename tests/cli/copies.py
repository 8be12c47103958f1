"""Helpers for tests of copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.cli.copying import CopyJob, CopyReport
from encore_storage.events import StoreProgressEndEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.core import StoreCore

KINDS = ["memory", "filesystem", "sqlite"]
LARGE = 3 << 20
"""More bytes than one read returns."""

MakeStore = Callable[..., AbstractStore]


class PlainStore(DictMemoryStore):
    """A store without fingerprints."""

    _fingerprint = StoreCore._fingerprint
    _put_copy = StoreCore._put_copy
    _keep_fingerprint = StoreCore._keep_fingerprint
    _kept_fingerprint = StoreCore._kept_fingerprint


def copy(
    source: AbstractStore, target: AbstractStore, keys: list[str] | None = None, *, size: int = 2, verify: bool = False
) -> CopyReport:
    """Copy the keys; by default, all of them."""
    job = CopyJob(source, target, transaction_size=size, verify=verify)
    job.run(sorted(source.query_keys()) if keys is None else keys)
    return job.report


def ended_keys(recorder: EventRecorder, store: str, operation: str) -> list[str | None]:
    """Return the keys of the store's ended operations of that name."""
    ends = recorder.of(StoreProgressEndEvent)
    return [event.key for event in ends if (event.store, event.operation) == (store, operation)]


def connect_once(manager: EventManager, cls: type[Any], wanted: dict[str, Any], act: Callable[[], object]) -> None:
    """Call `act` for the first matching event."""
    left = [1]

    def listen(_event: object) -> None:
        if left:
            left.pop()
            act()

    manager.connect(cls, listen, wanted, weak=False)


def rewrite(path: Path) -> None:
    """Overwrite bytes, and restore the time."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"NEW")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
