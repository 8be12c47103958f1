"""Many operations of a client, and the memory that they leave behind."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import fsspec
from botocore.awsrequest import AWSResponse
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, text

from encore_events import EventManager
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent
from encore_storage.subscribers import MetricsSubscriber

BODY = b"x" * 100

MOST_OBJECTS = 500
MOST_BLOCKS = 5_000
MOST_RESIDENT = 4 * 1024 * 1024
"""Allowed growth; caches of libraries and the allocator's arenas account for it, not the number of operations."""


class Memory(NamedTuple):
    """The memory of the process after a garbage collection."""

    resident: int
    """In bytes."""
    objects: int
    """Tracked by the garbage collector."""
    blocks: int
    """Allocated by the interpreter, of any type."""

    @classmethod
    def now(cls) -> Memory:
        """Return the memory now."""
        gc.collect()
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        resident = next(line for line in lines if line.startswith("VmRSS:"))
        return cls(int(resident.split()[1]) * 1024, len(gc.get_objects()), sys.getallocatedblocks())


class RawBody:
    """The body of a response, as urllib3 has it."""

    def __init__(self) -> None:
        self._data = BODY

    def read(self, amt: int | None = None, **options: object) -> bytes:
        data, self._data = self._data[:amt], b"" if amt is None else self._data[amt:]
        return data

    def stream(self, **options: object) -> Iterator[bytes]:
        yield self.read()

    def close(self) -> None:
        pass


def growth(operation: Callable[[], object], number: int) -> Memory:
    """Return how much more memory there is after `number` operations than after a tenth of them."""
    repeat(operation, number // 10)
    before = Memory.now()
    repeat(operation, number - number // 10)
    after = Memory.now()
    return Memory(*(now - then for now, then in zip(after, before, strict=True)))


def repeat(operation: Callable[[], object], number: int) -> None:
    """Call the operation."""
    for _ in range(number):
        operation()


@contextmanager
def fsspec_operations(manager: EventManager) -> Iterator[Callable[[], object]]:
    """Return a function that reads a file of a file system in memory."""
    fs = fsspec.filesystem("memory", skip_instance_cache=True)
    fs.pipe_file("/memory/file", BODY)
    observe(fs, event_manager=manager)
    yield lambda: fs.cat_file("/memory/file")
    unobserve(fs)
    fs.rm("/memory", recursive=True)


@contextmanager
def fsspec_failures(manager: EventManager) -> Iterator[Callable[[], object]]:
    """Return a function that reads a file that is missing."""
    fs = observe(fsspec.filesystem("memory", skip_instance_cache=True), event_manager=manager)

    def miss() -> None:
        try:
            fs.cat_file("/memory/missing")
        except FileNotFoundError:
            return
        raise AssertionError

    yield miss
    unobserve(fs)


@contextmanager
def sqlalchemy_operations(manager: EventManager) -> Iterator[Callable[[], object]]:
    """Return a function that begins a transaction, executes a statement, and commits."""
    engine = observe(create_engine("sqlite://"), event_manager=manager)
    statement = text("select 1")

    def transact() -> None:
        with engine.begin() as connection:
            connection.execute(statement).scalar()

    yield transact
    unobserve(engine)
    engine.dispose()


@contextmanager
def boto3_operations(manager: EventManager) -> Iterator[Callable[[], object]]:
    """Return a function that reads an object whose bytes don't come from a network."""
    client: Any = boto3.client("s3", region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-")

    def respond(request: object, **_: object) -> Any:
        headers: Any = {"Content-Length": str(len(BODY))}
        return AWSResponse("https://bucket.invalid/key", 200, headers, RawBody())

    client.meta.events.register("before-send.s3.GetObject", respond)
    observe(client, event_manager=manager)
    yield lambda: client.get_object(Bucket="bucket", Key="key")["Body"].read()  # noqa: PLW0108 (the class is observed)
    client.close()


Client = Callable[[EventManager], AbstractContextManager[Callable[[], object]]]

CLIENTS: dict[str, Client] = {
    "fsspec": fsspec_operations,
    "fsspec miss": fsspec_failures,
    "sqlalchemy": sqlalchemy_operations,
    "boto3": boto3_operations,
}
"""For each client, the context manager that returns one operation."""


def check_memory(client: Client, manager: EventManager, number: int) -> None:
    """Fail if `number` operations of a client that are counted in metrics leave memory behind."""
    metrics = MetricsSubscriber(registry=CollectorRegistry())
    stores = set[str | None]()
    with metrics.connect(manager), client(manager) as operate:
        manager.connect(StoreProgressEndEvent, lambda event: stores.add(event.store))
        grown = growth(operate, number)

    assert stores
    assert grown.objects < MOST_OBJECTS, grown
    assert grown.blocks < MOST_BLOCKS, grown
    assert grown.resident < MOST_RESIDENT, grown
