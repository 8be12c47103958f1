"""What watching a transfer adds to each of its chunks.

A null source gives the same bytes again and again, so that a loop over it costs next to nothing, and what progress adds
to the loop is the difference of two minima: with progress, and without. Ours is the whole operation with metrics and
logs connected, its Start and its End told once in a run; the peers are told of each chunk and nothing else. A run ends
before anyone's interval between two reports is over, as nearly every chunk of a real transfer does.
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
    """Gives the same bytes at every read, for ever."""

    def __init__(self) -> None:
        self._chunk = bytes(CHUNK)

    def read(self, _size: int, /) -> bytes:
        """A chunk that costs nothing."""
        return self._chunk


def benches() -> Iterator[Bench]:
    """The rows of progress."""
    yield Bench("progress added to each chunk of buffer_iterator, against tqdm.update", against_tqdm, 0.8)
    yield Bench("progress added to each chunk of buffer_iterator, against fsspec's Callback", against_fsspec)


def against_tqdm() -> Pair:
    """Progress, against an open bar that writes nowhere."""
    bar = tqdm.tqdm(file=open(os.devnull, "w", encoding="utf-8"), unit="B", unit_scale=True)  # noqa: SIM115, PTH123 (the bar's)
    return added(), _loop("    bar.update(len(chunk))", bar=bar)


def against_fsspec() -> Pair:
    """Progress, against the callback that fsspec calls for each chunk, which counts and shows nothing."""
    return added(), _loop("    callback.relative_update(len(chunk))", callback=fsspec.callbacks.Callback())


def added() -> Snippet:
    """A loop over a null source with our progress, less the loop without."""
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
    """Makes the progress of a read, on an event manager with metrics and logs connected."""
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    LogSubscriber(logger=_logger_to_nowhere()).connect(manager)
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


def _logger_to_nowhere() -> Any:
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (as long as the process)
    return structlog.wrap_logger(
        structlog.WriteLogger(nowhere),
        processors=[structlog.processors.JSONRenderer(default=str)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
