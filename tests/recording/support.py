"""Helpers for the tests of recordings."""

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
"""Seconds to wait for another thread or process before a test fails."""


def write(path: Path, times: list[float], *, end: bytes = b"\n") -> Path:
    """Write a recording with an event at each of `times`, with its number as the key, and return `path`."""
    codec = EventCodec()
    events = [(StoreSetEvent(store="a", key=str(number)), at) for number, at in enumerate(times)]
    path.write_bytes(b"\n".join(codec.encode(event, time=at) for event, at in events) + end)
    return path


def lines(path: Path) -> list[Any]:
    """Return the messages of a file, and assert that all lines are complete."""
    text = path.read_bytes()
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def keys(path: Path) -> list[str]:
    """Return the keys in the messages of a file."""
    return [message["data"]["key"] for message in lines(path) if "key" in message["data"]]


def emit(manager: EventManager, count: int, first: int = 0) -> None:
    """Emit events with their numbers as keys."""
    for number in range(first, first + count):
        manager.emit(StoreSetEvent(store="a", key=f"{number:04}"))


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        threading.Event().wait(0.005)
