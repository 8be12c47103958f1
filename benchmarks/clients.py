"""The cost of observing clients, added to an operation.

Each row compares an observed operation, less the bare one, with what OpenTelemetry's instrumentation adds, or with the
bare operation. OpenTelemetry's spans go to a batch processor with a null exporter. Its thread takes them now and then;
most rounds pass without it, so the minima do not contain its work.

Instrumentations replace methods for the whole process. So the instrumented object gets these methods as attributes of
its own, and the process is restored at once.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import sqlalchemy
from botocore.awsrequest import AWSResponse
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage import observe
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.subscribers import MetricsSubscriber

Pair = tuple[Snippet, Snippet]

SIZE = 4096
CHUNK, CHUNKS = 65536, 256
ROUND_NS = 500_000

TRANSACTION = "with engine.begin() as connection:\n    connection.execute(statement)"
GET_OBJECT = "client.get_object(Bucket='bench', Key='key')['Body'].read()"
CAT_FILE = "fs.cat_file('/key')"
OPEN_READ_CLOSE = "file = fs.open('/key')\nfile.read()\nfile.close()"
READS = f"file.seek(0)\nfor _ in range({CHUNKS}):\n    file.read({CHUNK})"


def benches() -> Iterator[Bench]:
    """Yield the rows of clients."""
    row = partial(Bench, round_ns=ROUND_NS)
    sql, s3 = "SQLAlchemy client: begin + SELECT + commit", "boto3 client: GetObject of 4 KiB"
    yield row(f"{sql}, added with metrics, against OpenTelemetry's", transaction_against_opentelemetry, 0.4)
    yield row(f"{sql}, added with a listener, against bare", partial(transaction_added, listened()), reach_us=25)
    yield row(f"{s3}, added with metrics, against OpenTelemetry's", get_object_against_opentelemetry, 0.15)
    yield row(f"{s3}, added with a listener, against bare", partial(get_object_added, listened()), reach_us=15)
    cat, opened = "fsspec client: cat_file in memory", "fsspec client: open, read, close in memory"
    yield row(f"{cat}, added with a listener, against bare", partial(memory_added, CAT_FILE, listened()), reach_us=3)
    yield row(
        f"{opened}, added with a listener, against bare", partial(memory_added, OPEN_READ_CLOSE, listened()), reach_us=8
    )
    yield row("fsspec client: 64 KiB reads of an open local file with metrics, against bare", local_reads, 1.08)


def listened() -> EventManager:
    """Return an event manager with one listener of the ends of operations and transactions."""
    manager = EventManager()
    for cls in (StoreProgressEndEvent, StoreTransactionEndEvent):
        manager.connect(cls, _listen)
    return manager


def measured() -> EventManager:
    """Return an event manager with metrics."""
    manager = EventManager()
    MetricsSubscriber(registry=CollectorRegistry()).connect(manager)
    return manager


def transaction_against_opentelemetry() -> Pair:
    """Compare what we add to a transaction with what SQLAlchemyInstrumentor adds."""
    ours, bare = transaction_added(measured())
    engine = _engine()
    instrumentor = SQLAlchemyInstrumentor()
    # The check of dependencies refuses SQLAlchemy 2.1, with which it works as well.
    instrumentor.instrument(engine=engine, tracer_provider=_tracer_provider(), skip_dep_check=True)
    engine.connect = engine.connect
    EngineTracer._remove_event_listener_params.clear()  # noqa: SLF001 (or it would remove those of this engine)
    instrumentor.uninstrument()
    return ours, _transaction(engine, less=bare)


def transaction_added(manager: EventManager) -> Pair:
    """Compare what we add to a transaction with the bare one."""
    bare = _transaction(_engine())
    return _transaction(observe(_engine(), event_manager=manager), less=bare), bare


def get_object_against_opentelemetry() -> Pair:
    """Compare what we add to a GetObject with what BotocoreInstrumentor adds."""
    ours, bare = get_object_added(measured())
    instrumentor, client = BotocoreInstrumentor(), _client()
    instrumentor.instrument(tracer_provider=_tracer_provider())
    type(client)._make_api_call = type(client)._make_api_call  # noqa: SLF001 (one of the two methods that it replaces)
    client._endpoint.prepare_request = client._endpoint.prepare_request  # noqa: SLF001 (the other)
    instrumentor.uninstrument()
    return ours, Snippet(GET_OBJECT, less=bare, client=client)


def get_object_added(manager: EventManager) -> Pair:
    """Compare what we add to a GetObject with the bare one."""
    bare = Snippet(GET_OBJECT, client=_client())
    return Snippet(GET_OBJECT, less=bare, client=observe(_client(), event_manager=manager)), bare


def memory_added(code: str, manager: EventManager) -> Pair:
    """Compare what we add to calls of the memory file system with the bare ones."""
    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.pipe_file("/key", bytes(SIZE))
    bare = Snippet(code, fs=fs)
    return Snippet(code, less=bare, fs=observe(MemoryFileSystem(skip_instance_cache=True), event_manager=manager)), bare


def local_reads() -> Pair:
    """Compare reads of an observed open file with those of the bare file."""
    path = Path(tempfile.mkdtemp()) / "chunks"
    path.write_bytes(bytes(CHUNK * CHUNKS))
    observed = observe(LocalFileSystem(skip_instance_cache=True), event_manager=measured())
    bare = LocalFileSystem(skip_instance_cache=True)
    ours, peer = (Snippet(READS, units=CHUNKS, file=fs.open(path)) for fs in (observed, bare))
    path.unlink()
    path.parent.rmdir()
    return ours, peer


class _NullExporter:
    """An exporter of spans that drops them."""

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Do nothing with the spans."""
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing."""


def _tracer_provider() -> TracerProvider:
    """Return a provider with a queue that no benchmark fills."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_NullExporter(), max_queue_size=1 << 20))
    return provider


def _engine() -> Any:
    """Return an engine of a database in memory, with its connection made."""
    engine: Any = sqlalchemy.create_engine("sqlite://")
    engine.raw_connection = engine.raw_connection  # the plain one: observing an engine replaces that of all engines
    return engine


def _transaction(engine: Any, less: Snippet | None = None) -> Snippet:
    return Snippet(TRANSACTION, less=less, engine=engine, statement=sqlalchemy.text("SELECT 1"))


def _client() -> Any:
    """Return a client of S3 whose requests are answered without a network."""
    client: Any = boto3.client(
        "s3",
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106 (of nobody)
    )
    client.meta.events.register("before-send.s3.GetObject", _respond)
    return client


def _respond(request: Any, **_: Any) -> AWSResponse:
    headers: Any = {"Content-Length": str(SIZE)}
    return AWSResponse(request.url, 200, headers, io.BytesIO(bytes(SIZE)))


def _listen(event: object) -> None:
    """Do nothing with an event."""
