"""The cost of progress for each chunk of a transfer.

A loop over a null source costs next to nothing, so the cost is the difference of the minima with and without progress.
Ours is a whole operation with metrics and logs connected, and emits Start and End once in a run; the peers only count
chunks. A run is shorter than any reporting interval, as are most chunks of a real transfer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import fsspec.callbacks
import structlog
import tqdm
from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber
from encore_storage.utils import StoreProgressManager, buffer_iterator

Pair = tuple[Snippet, Snippet]

CHUNK = 65536
CHUNKS = 10_000
ALL = CHUNK * CHUNKS


class NullSource:
    """An endless source of the same bytes."""

    def __init__(self) -> None:
        self._chunk = bytes(CHUNK)

    def read(self, _size: int, /) -> bytes:
        """Return a chunk without any work."""
        return self._chunk


def benches() -> Iterator[Bench]:
    """Yield the rows of progress."""
    yield Bench("progress added to each chunk of buffer_iterator, against tqdm.update", against_tqdm, 0.8)
    yield Bench("progress added to each chunk of buffer_iterator, against fsspec's Callback", against_fsspec)


def against_tqdm() -> Pair:
    """Compare progress with a tqdm bar that writes to the null device."""
    bar = tqdm.tqdm(file=open(os.devnull, "w", encoding="utf-8"), unit="B", unit_scale=True)  # noqa: SIM115, PTH123 (the bar's)
    return added(), _loop("    bar.update(len(chunk))", bar=bar)


def against_fsspec() -> Pair:
    """Compare progress with fsspec's callback, which only counts."""
    return added(), _loop("    callback.relative_update(len(chunk))", callback=fsspec.callbacks.Callback())


def added() -> Snippet:
    """Return a loop over a null source with progress, less the loop without."""
    return Snippet(
        "with operation() as progress:\n"
        "    for chunk in buffer_iterator(source, size, progress, max_bytes):\n"
        "        pass",
        units=CHUNKS,
        less=_bare(),
        operation=observed_operation(),
        **_loop_names(),
    )


def observed_operation() -> Callable[[], StoreProgressManager]:
    """Return a factory of progress managers for a read, with metrics and logs connected."""
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    LogSubscriber(logger=_null_logger()).connect(manager)
    identity: dict[str, Any] = {"store": "bench", "operation": "get", "direction": "read", "key": "k", "metadata": {}}
    return partial(StoreProgressManager, manager, **identity, transaction_id=None)


def _loop(body: str, **names: Any) -> Snippet:
    code = f"for chunk in buffer_iterator(source, size, None, max_bytes):\n{body}"
    return Snippet(code, units=CHUNKS, less=_bare(), **_loop_names(), **names)


def _bare() -> Snippet:
    return Snippet(
        "for chunk in buffer_iterator(source, size, None, max_bytes):\n    pass", units=CHUNKS, **_loop_names()
    )


def _loop_names() -> dict[str, Any]:
    return {"buffer_iterator": buffer_iterator, "source": NullSource(), "size": CHUNK, "max_bytes": ALL}


def _null_logger() -> Any:
    null = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (open until the process ends)
    return structlog.wrap_logger(
        structlog.WriteLogger(null),
        processors=[structlog.processors.JSONRenderer(default=str)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
