"""Targets of `observe()` for boto3 and aiobotocore, used by threads, tasks, forked children and other clients."""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.client import ClientCreator
from botocore.session import get_session

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.clients import UnsupportedClientError
from encore_storage.clients.nesting import inside
from encore_storage.events import StoreProgressEndEvent
from encore_storage.observing import StoreObserver
from tests.clients.botocore_servers import AsyncClients, Proxy, SyncClients, aio_session, arguments_of
from tests.forking import forked

DATA = b"0123456789" * 5000


@pytest.fixture
def stored(plain_s3: Any, bucket: str) -> str:
    plain_s3.put_object(Bucket=bucket, Key="key", Body=DATA)
    return bucket


@pytest.fixture(params=["boto3", "botocore", "aiobotocore"])
def library(request: pytest.FixtureRequest, manager: EventManager) -> Iterator[Any]:
    """Yield the module of an observed library."""
    module = importlib.import_module(request.param)
    assert observe(module, event_manager=manager) is module
    yield module
    unobserve(module)


def test_clients_that_an_observed_library_makes_are_observed(
    library: Any, clients: SyncClients | AsyncClients, seaweedfs_url: str, stored: str, recorder: EventRecorder
) -> None:
    client = clients.make("s3", seaweedfs_url)
    clients.call(client.head_object, Bucket=stored, Key="key")
    assert recorder.one(StoreProgressEndEvent).operation == "get_metadata"

    unobserve(library)
    clients.call(client.head_object, Bucket=stored, Key="key")
    clients.call(clients.make("s3", seaweedfs_url).head_object, Bucket=stored, Key="key")
    assert len(recorder.of(StoreProgressEndEvent)) == 1
    assert type(client) is client.__class__


def test_unobserved_library_is_as_before(seaweedfs_url: str, manager: EventManager) -> None:
    plain = ClientCreator.create_client
    boto3 = importlib.import_module("boto3")
    observe(boto3, event_manager=manager)
    observe(boto3, event_manager=manager)
    assert ClientCreator.create_client is not plain
    unobserve(boto3)
    assert ClientCreator.create_client is plain


def test_resources_of_an_observed_library_are_observed(
    library: Any, seaweedfs_url: str, stored: str, recorder: EventRecorder
) -> None:
    body = SyncClients().resource("s3", seaweedfs_url).Object(stored, "key").get()["Body"]
    assert body.read() == DATA
    assert recorder.one(StoreProgressEndEvent).bytes == len(DATA)


def test_clients_of_an_observed_session_are_observed(
    seaweedfs_url: str, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    for session, make in ((importlib.import_module("boto3").Session(), "client"), (get_session(), "create_client")):
        recorder.events.clear()
        assert observe(session, event_manager=manager) is session
        client = getattr(session, make)("s3", **arguments_of(seaweedfs_url))
        client.head_object(Bucket=stored, Key="key")
        assert recorder.one(StoreProgressEndEvent).store == f"s3:{stored}"

        unobserve(session)
        client.head_object(Bucket=stored, Key="key")
        getattr(session, make)("s3", **arguments_of(seaweedfs_url)).head_object(Bucket=stored, Key="key")
        assert len(recorder.of(StoreProgressEndEvent)) == 1


def test_clients_of_an_observed_session_of_aiobotocore_are_observed(
    seaweedfs_url: str, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    async def head() -> None:
        async with aio_session().create_client("s3", **arguments_of(seaweedfs_url)) as client:
            await client.head_object(Bucket=stored, Key="key")

    observe(aio_session(), event_manager=manager)
    asyncio.run(head())
    unobserve(aio_session())
    asyncio.run(head())
    assert recorder.one(StoreProgressEndEvent).operation == "get_metadata"


def test_observe_refuses_what_makes_no_calls(plain_s3: Any) -> None:
    for target in (plain_s3.meta, plain_s3.exceptions, importlib.import_module("botocore.config").Config()):
        with pytest.raises(UnsupportedClientError):
            observe(target)


def test_objects_of_a_resource_are_observed(
    seaweedfs_url: str, bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    observed = observe(SyncClients().resource("s3", seaweedfs_url).Bucket(bucket), event_manager=manager)
    observed.put_object(Key="key", Body=DATA)
    assert [one.key for one in observed.objects.all()] == ["key"]
    assert observed.Object("key").content_length == len(DATA)
    observed.objects.delete()

    ends = recorder.of(StoreProgressEndEvent)
    assert [end.operation for end in ends] == ["set", "list", "get_metadata", "list", "delete"]


@pytest.mark.parametrize("form", ["with", "with_chunks", "readlines", "raw_lines", "TextIOWrapper"])
def test_body_is_observed_however_it_is_read(
    form: str, proxy: Proxy, plain_s3: Any, bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    text = b"a line\n" * 10_000
    plain_s3.put_object(Bucket=bucket, Key="key", Body=text)
    client = observe(SyncClients().make("s3", proxy.url), event_manager=manager)
    body = client.get_object(Bucket=bucket, Key="key")["Body"]
    if form == "readlines":
        data = b"".join(body.readlines())
    elif form == "TextIOWrapper":
        data = io.TextIOWrapper(io.BufferedReader(body)).read().encode()
    else:
        with body as raw:
            assert isinstance(raw, importlib.import_module("urllib3").HTTPResponse)
            chunks = {"with": lambda: [raw.read()], "with_chunks": raw.stream, "raw_lines": raw.readlines}
            data = b"".join(chunks[form]())

    end = recorder.one(StoreProgressEndEvent)
    assert data == text
    assert (end.outcome, end.bytes) == ("ok", len(text))
    assert end.bytes == proxy.sent


def test_body_left_early_in_a_with_block_ends_its_get(
    proxy: Proxy, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(SyncClients().make("s3", proxy.url), event_manager=manager)
    with client.get_object(Bucket=stored, Key="key")["Body"] as raw:
        raw.read(100)

    assert (recorder.one(StoreProgressEndEvent).outcome, recorder.one(StoreProgressEndEvent).bytes) == ("ok", 100)


@pytest.mark.parametrize("place", ["call", "body"])
def test_cancelled_task_ends_its_operation(
    place: str, proxy: Proxy, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    clients = AsyncClients()
    client = observe(clients.make("s3", proxy.url), event_manager=manager)

    async def run() -> None:
        response = await client.get_object(Bucket=stored, Key="key")
        response["Body"].close()
        recorder.events.clear()
        proxy.stall = "headers" if place == "call" else "body"
        task = asyncio.create_task(read())
        await asyncio.to_thread(proxy.stalled.wait, 10)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def read() -> None:
        response = await client.get_object(Bucket=stored, Key="key")
        async with response["Body"] as body:
            await body.read()

    clients.call(run)
    clients.close()
    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.operation) == ("cancelled", "get")


def test_interrupted_call_ends_its_operation(
    plain_s3: Any, stored: str, manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    client = observe(plain_s3, event_manager=manager)
    monkeypatch.setattr("botocore.endpoint.Endpoint.make_request", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.head_object(Bucket=stored, Key="key")
    unobserve(client)

    assert recorder.one(StoreProgressEndEvent).outcome == "cancelled"


def test_call_for_the_operation_of_another_client_adds_its_retries_to_it(
    clients: SyncClients | AsyncClients, proxy: Proxy, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(clients.make("s3", proxy.url), event_manager=manager)
    observer = StoreObserver("files", event_manager=manager)
    proxy.slow_downs = 2

    async def read(operation: Any) -> None:
        with inside(operation, recorder):
            response = await client.get_object(Bucket=stored, Key="key")
            await response["Body"].read()

    with observer.operation("get", "key") as operation:
        if isinstance(clients, AsyncClients):
            clients.call(read, operation)
        else:
            with inside(operation, recorder):
                client.get_object(Bucket=stored, Key="key")["Body"].read()

    end = recorder.one(StoreProgressEndEvent)
    assert (end.store, end.attempts) == ("files", 3)


def test_call_that_a_call_makes_is_part_of_it(
    seaweedfs_url: str, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(SyncClients().make("s3", seaweedfs_url), event_manager=manager)
    other = observe(SyncClients().make("s3", seaweedfs_url), event_manager=manager)

    def look_up(**_: object) -> None:
        client.meta.events.unregister("before-call.s3", look_up)
        client.head_bucket(Bucket=stored)
        other.head_bucket(Bucket=stored)

    client.meta.events.register("before-call.s3", look_up)
    client.head_object(Bucket=stored, Key="key")

    assert recorder.one(StoreProgressEndEvent).operation == "get_metadata"


def test_forked_child_observes_on(
    seaweedfs_url: str, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(SyncClients().make("s3", seaweedfs_url), event_manager=manager)
    body = client.get_object(Bucket=stored, Key="key")["Body"]
    body.read(10)

    def child() -> str:
        recorder.events.clear()
        body.read(10)  # of the parent's operation, which the parent ends
        client.head_object(Bucket=stored, Key="key")
        return " ".join(f"{end.operation}={end.outcome}" for end in recorder.of(StoreProgressEndEvent))

    assert forked(child) == "'get_metadata=ok'"
    body.close()
    assert recorder.one(StoreProgressEndEvent).bytes == 10


def test_collected_client_of_aiobotocore_is_not_kept(seaweedfs_url: str, stored: str, manager: EventManager) -> None:
    async def run() -> weakref.ref[Any]:
        async with aio_session().create_client("s3", **arguments_of(seaweedfs_url)) as client:
            observe(client, event_manager=manager)
            response = await client.get_object(Bucket=stored, Key="key")
            await response["Body"].read()
            return weakref.ref(client)

    reference = asyncio.run(run())
    gc.collect()
    assert reference() is None


def test_uploaded_file_is_untouched(seaweedfs_url: str, bucket: str, manager: EventManager, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    client = observe(SyncClients().make("s3", seaweedfs_url), event_manager=manager)
    with path.open("rb") as file:
        client.put_object(Bucket=bucket, Key="key", Body=file)
        assert not file.closed
        assert file.tell() == len(DATA)
