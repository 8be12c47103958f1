"""The cost of observing clients, added to an operation.

Each row compares an observed operation, less the bare one, with what OpenTelemetry's instrumentation adds to it, or with
the bare operation itself. OpenTelemetry's spans go to a batch processor with a null exporter. Its thread takes them now
and then; most rounds pass without it, so that the minima do not contain its work.

Instrumentations replace methods for the whole process. So the instrumented object gets these methods as attributes of
its own, and the process is restored at once.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import sqlalchemy
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage import observe
from encore_storage.events import StoreProgressEndEvent, StoreTransactionEndEvent
from encore_storage.subscribers import MetricsSubscriber

Pair = tuple[Snippet, Snippet]

SIZE = 4096
CHUNK, CHUNKS = 65536, 256

TRANSACTION = "with engine.begin() as connection:\n    connection.execute(statement)"
GET_OBJECT = "client.get_object(Bucket='bench', Key='key')['Body'].read()"
CAT_FILE = "fs.cat_file('/key')"
OPEN_READ_CLOSE = "file = fs.open('/key')\nfile.read()\nfile.close()"
READS = f"file.seek(0)\nfor _ in range({CHUNKS}):\n    file.read({CHUNK})"


def benches() -> Iterator[Bench]:
    """Yield the rows of clients."""
    begin, get = "a client's begin + SELECT + commit (SQLAlchemy)", "a client's GetObject of 4 KiB (boto3)"
    yield Bench(f"{begin} with metrics, against OpenTelemetry", transaction_against_opentelemetry, 0.4)
    yield Bench(f"{begin} with a listener, against bare", lambda: transaction_added(listened()), reach_us=25)
    yield Bench(f"{get} with metrics, against OpenTelemetry", get_object_against_opentelemetry, 0.15)
    yield Bench(f"{get} with a listener, against bare", lambda: get_object_added(listened()), reach_us=15)
    yield Bench(
        "a client's cat_file in memory (fsspec) with a listener, against bare",
        lambda: memory_added(CAT_FILE, listened()),
        reach_us=3,
    )
    yield Bench(
        "a client's open, read, close in memory (fsspec) with a listener, against bare",
        lambda: memory_added(OPEN_READ_CLOSE, listened()),
        reach_us=8,
    )
    yield Bench(
        "a client's 64 KiB reads of an open local file (fsspec) with metrics, against bare", local_reads, 1.08
    )


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
    type(client)._make_api_call = BaseClient._make_api_call  # noqa: SLF001 (what it replaces)
    client._endpoint.prepare_request = client._endpoint.prepare_request  # noqa: SLF001 (as above)
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
    files = [fs.open(path) for fs in (observed, bare)]
    path.unlink()
    path.parent.rmdir()
    ours, peer = (Snippet(READS, units=CHUNKS, file=file, fs=fs) for file, fs in zip(files, (observed, bare)))
    return ours, peer


class _NullExporter(SpanExporter):
    """An exporter that drops the spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _tracer_provider() -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_NullExporter()))
    return provider


def _engine() -> Any:
    """Return an engine of a database in memory, with its connection made."""
    engine = sqlalchemy.create_engine("sqlite://")
    engine.raw_connection = engine.raw_connection  # the plain one: observing an engine replaces that of all engines
    return engine


def _transaction(engine: Any, less: Snippet | None = None) -> Snippet:
    return Snippet(TRANSACTION, less=less, engine=engine, statement=sqlalchemy.text("SELECT 1"))


def _client() -> Any:
    """Return a client of S3 whose requests are answered without a network."""
    client = boto3.client(
        "s3",
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",  # noqa: S106 (of nobody)
    )
    client.meta.events.register("before-send.s3.GetObject", _respond)
    return client


def _respond(request: Any, **_: Any) -> AWSResponse:
    return AWSResponse(request.url, 200, {"Content-Length": str(SIZE)}, io.BytesIO(bytes(SIZE)))


def _listen(event: object) -> None:
    """Do nothing with an event."""
