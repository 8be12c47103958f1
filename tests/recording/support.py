"""What the tests of recordings share."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encore_events import EventManager
from encore_storage.codec import EventCodec
from encore_storage.events import StoreSetEvent

LONG = 30.0
"""Seconds that a test waits for another thread or process: never spent, unless it fails."""


def write(path: Path, times: list[float], *, end: bytes = b"\n") -> Path:
    """A recording with an event at each of the times; its key is its number."""
    codec = EventCodec()
    events = [(StoreSetEvent(store="a", key=str(number)), at) for number, at in enumerate(times)]
    path.write_bytes(b"\n".join(codec.encode(event, time=at) for event, at in events) + end)
    return path


def lines(path: Path) -> list[Any]:
    """The messages of a file; each of its lines is whole."""
    text = path.read_bytes()
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def keys(path: Path) -> list[str]:
    """The keys that a file tells of."""
    return [message["data"]["key"] for message in lines(path) if "key" in message["data"]]


def emit(manager: EventManager, count: int, first: int = 0) -> None:
    """Emit events whose keys are their numbers."""
    for number in range(first, first + count):
        manager.emit(StoreSetEvent(store="a", key=f"{number:04}"))


def until(condition: Callable[[], object]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.005)
