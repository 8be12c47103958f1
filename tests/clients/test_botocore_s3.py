"""Observed S3 clients of boto3 and aiobotocore, against SeaweedFS: operations, bytes, outcomes, errors."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, FlexibleChecksumError, ParamValidationError

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import (
    StoreDeleteEvent,
    StoreEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
)
from tests.clients.botocore_servers import AsyncClients, Proxy, SyncClients

Clients = SyncClients | AsyncClients
DATA = bytes(range(256)) * 300 + b"\nthe last line"
"""More than the buffers of an HTTP client hold."""


@pytest.fixture
def client(clients: Clients, proxy: Proxy, manager: EventManager) -> Any:
    """Return an observed client of SeaweedFS behind the proxy."""
    return observe(clients.make("s3", proxy.url), event_manager=manager)


@pytest.fixture
def plain(clients: Clients, proxy: Proxy) -> Any:
    """Return a client that is not observed."""
    return clients.make("s3", proxy.url)


@pytest.fixture
def stored(plain_s3: Any, bucket: str) -> str:
    """Return the bucket, with DATA under 'key'."""
    plain_s3.put_object(Bucket=bucket, Key="key", Body=DATA)
    return bucket


def the_end(recorder: EventRecorder) -> StoreProgressEndEvent:
    """Return the only end, after checking that it has one start, and that the deltas sum to its bytes."""
    start, end = recorder.one(StoreProgressStartEvent), recorder.one(StoreProgressEndEvent)
    assert start.operation_id == end.operation_id
    assert end.delta + sum(step.delta for step in recorder.of(StoreProgressStepEvent)) == end.bytes
    return end


READERS: dict[str, Callable[[Clients, Any], bytes]] = {
    "read": lambda clients, body: clients.call(body.read),
    "read_sized": lambda clients, body: b"".join(iter(lambda: clients.call(body.read, 1000), b"")),
    "read_sized_by_a_kept_method": lambda clients, body: b"".join(_read_by(clients, body.read)),
    "read_exactly": lambda clients, body: clients.call(body.read, 10) + _read_exactly(clients, body, len(DATA) - 10),
    "iter_chunks": lambda clients, body: b"".join(clients.chunks(body.iter_chunks(777))),
    "iterate": lambda clients, body: b"".join(clients.chunks(body)),
    "iter_lines": lambda clients, body: b"".join(clients.chunks(body.iter_lines(keepends=True))),
    "readinto": lambda clients, body: b"".join(_read_into(clients, body)),
}


def _read_by(clients: Clients, read: Any) -> Any:
    while chunk := clients.call(read, 1000):
        yield chunk


def _read_exactly(clients: Clients, body: Any, size: int) -> bytes:
    parts = []
    while size:
        parts.append(clients.call(body.read, size))
        size -= len(parts[-1])
    return b"".join(parts)


def _read_into(clients: Clients, body: Any) -> Any:
    buffer = bytearray(1000)
    while size := clients.call(body.readinto, buffer):
        yield bytes(buffer[:size])


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.usefixtures("every_step")
def test_get_object_ends_with_its_body(
    read: Callable[[Clients, Any], bytes],
    clients: Clients,
    client: Any,
    stored: str,
    proxy: Proxy,
    recorder: EventRecorder,
) -> None:
    response = clients.call(client.get_object, Bucket=stored, Key="key")
    assert not recorder.of(StoreProgressEndEvent)
    data = read(clients, response["Body"])

    end = the_end(recorder)
    assert data == DATA
    assert (end.store, end.operation, end.direction, end.key) == (f"s3:{stored}", "get", "read", f"{stored}/key")
    assert (end.outcome, end.attempts, end.error) == ("ok", 1, None)
    assert end.bytes == end.steps == len(DATA) == proxy.sent
    assert end.first_byte is not None
    assert 0 < end.first_byte <= end.duration


def test_body_is_plain_before_and_after_its_end(clients: Clients, client: Any, plain: Any, stored: str) -> None:
    expected = clients.call(plain.get_object, Bucket=stored, Key="key")["Body"]
    body = clients.call(client.get_object, Bucket=stored, Key="key")["Body"]
    assert isinstance(body, type(expected))
    assert body.__class__ is type(expected)

    clients.call(body.read)
    clients.call(expected.read)
    assert type(body) is type(expected)
    assert vars(body).keys() == vars(expected).keys()


def test_response_is_that_of_the_plain_client(clients: Clients, client: Any, plain: Any, stored: str) -> None:
    responses = [clients.call(one.get_object, Bucket=stored, Key="key") for one in (plain, client)]
    for response in responses:
        assert clients.call(response.pop("Body").read) == DATA
        del response["ResponseMetadata"]
    assert responses[0] == responses[1]


def test_get_object_of_a_range_is_a_get_range(
    clients: Clients, client: Any, stored: str, recorder: EventRecorder
) -> None:
    body = clients.call(client.get_object, Bucket=stored, Key="key", Range="bytes=10-19")["Body"]
    assert clients.call(body.read) == DATA[10:20]

    end = the_end(recorder)
    assert (end.operation, end.bytes, end.outcome) == ("get_range", 10, "ok")


def test_get_object_of_an_empty_object_ends_at_once(
    clients: Clients, client: Any, plain: Any, bucket: str, recorder: EventRecorder
) -> None:
    clients.call(plain.put_object, Bucket=bucket, Key="empty", Body=b"")
    body = clients.call(client.get_object, Bucket=bucket, Key="empty")["Body"]

    assert (the_end(recorder).outcome, the_end(recorder).bytes) == ("ok", 0)
    assert clients.call(body.read) == b""


def bodies(folder: Path) -> dict[str, Any]:
    path = folder / "body"
    path.write_bytes(b"skipped" + DATA)
    file = path.open("rb")
    file.seek(7)
    return {"bytes": DATA, "bytearray": bytearray(DATA), "BytesIO": io.BytesIO(DATA), "file": file}


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "BytesIO", "file"])
def test_put_object_counts_the_bytes_that_the_server_accepted(
    kind: str,
    clients: Clients,
    client: Any,
    bucket: str,
    proxy: Proxy,
    recorder: EventRecorder,
    tmp_path: Path,
) -> None:
    given = bodies(tmp_path)
    clients.call(client.put_object, Bucket=bucket, Key="new", Body=given[kind])

    end = the_end(recorder)
    assert (end.operation, end.direction, end.key, end.outcome) == ("set", "write", f"{bucket}/new", "ok")
    assert end.bytes == len(DATA) == proxy.received
    change = recorder.one(StoreSetEvent)
    assert (change.store, change.key) == (f"s3:{bucket}", f"{bucket}/new")
    assert recorder.events.index(change) > recorder.events.index(end)
    given["file"].close()


CALLS: dict[str, tuple[str, dict[str, Any], tuple[str, str | None, int | None], list[type[StoreEvent]]]] = {
    "head": ("head_object", {"Key": "key"}, ("get_metadata", "key", None), []),
    "list_v2": ("list_objects_v2", {}, ("list", None, 1), []),
    "list": ("list_objects", {"Prefix": "nothing"}, ("list", None, 0), []),
    "versions": ("list_object_versions", {}, ("list", None, 1), []),
    "delete": ("delete_object", {"Key": "key"}, ("delete", "key", None), [StoreDeleteEvent]),
    "delete_many": (
        "delete_objects",
        {"Delete": {"Objects": [{"Key": "key"}, {"Key": "other"}]}},
        ("delete", None, 2),
        [StoreDeleteEvent, StoreDeleteEvent],
    ),
    "delete_many_quietly": (
        "delete_objects",
        {"Delete": {"Objects": [{"Key": "key"}, {"Key": "other"}], "Quiet": True}},
        ("delete", None, 2),
        [StoreDeleteEvent, StoreDeleteEvent],
    ),
    "tagging": ("get_object_tagging", {"Key": "key"}, ("execute", "key", None), []),
    "location": ("get_bucket_location", {}, ("execute", None, None), []),
    "multipart": ("create_multipart_upload", {"Key": "key"}, ("execute", "key", None), []),
}


@pytest.mark.parametrize(("method", "parameters", "expected", "changes"), CALLS.values(), ids=CALLS)
def test_call_is_an_operation(
    method: str,
    parameters: dict[str, Any],
    expected: tuple[str, str | None, int | None],
    changes: list[type[StoreEvent]],
    clients: Clients,
    client: Any,
    stored: str,
    recorder: EventRecorder,
) -> None:
    clients.call(getattr(client, method), Bucket=stored, **parameters)

    end = the_end(recorder)
    key = None if expected[1] is None else f"{stored}/{expected[1]}"
    assert (end.operation, end.key, end.items) == (expected[0], key, expected[2])
    assert (end.store, end.outcome, end.bytes) == (f"s3:{stored}", "ok", 0)
    assert [type(event) for event in recorder.of(StoreEvent)[2:]] == changes


def test_copy_object_is_a_copy_that_sets_its_key(
    clients: Clients, client: Any, stored: str, recorder: EventRecorder
) -> None:
    clients.call(client.copy_object, Bucket=stored, Key="copied", CopySource={"Bucket": stored, "Key": "key"})

    end = the_end(recorder)
    assert (end.operation, end.key, end.direction, end.bytes) == ("copy", f"{stored}/copied", None, 0)
    assert recorder.one(StoreSetEvent).key == f"{stored}/copied"


def test_list_buckets_is_a_list_of_the_service(
    clients: Clients, client: Any, stored: str, recorder: EventRecorder
) -> None:
    found = clients.call(client.list_buckets)["Buckets"]

    end = the_end(recorder)
    assert (end.store, end.operation, end.items) == ("s3", "list", len(found))


def test_message_of_an_execute_names_the_call(
    clients: Clients, client: Any, stored: str, recorder: EventRecorder
) -> None:
    clients.call(client.get_object_tagging, Bucket=stored, Key="key")
    assert the_end(recorder).message == f"GetObjectTagging {stored}/key"


def test_multipart_upload_by_hand_counts_each_part(
    clients: Clients, client: Any, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    place = {"Bucket": bucket, "Key": "parts"}
    upload = clients.call(client.create_multipart_upload, **place)["UploadId"]
    tags = [
        clients.call(client.upload_part, PartNumber=number, UploadId=upload, Body=body, **place)["ETag"]
        for number, body in ((1, b"x" * 5 * 2**20), (2, DATA))
    ]
    before = proxy.received
    parts = [{"ETag": tag, "PartNumber": number} for number, tag in enumerate(tags, 1)]
    clients.call(client.complete_multipart_upload, UploadId=upload, MultipartUpload={"Parts": parts}, **place)

    ends = recorder.of(StoreProgressEndEvent)
    assert [end.operation for end in ends] == ["execute", "set", "set", "execute"]
    assert sum(end.bytes for end in ends) == before == 5 * 2**20 + len(DATA)
    assert recorder.one(StoreSetEvent).key == f"{bucket}/parts"


def test_pages_of_a_paginator_are_operations(
    clients: Clients, client: Any, plain: Any, stored: str, recorder: EventRecorder
) -> None:
    for key in "ab":
        clients.call(plain.put_object, Bucket=stored, Key=key, Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=stored, PaginationConfig={"PageSize": 2})
    found = [one["Key"] for page in clients.chunks(pages) for one in page["Contents"]]

    assert found == ["a", "b", "key"]
    assert [end.items for end in recorder.of(StoreProgressEndEvent)] == [2, 1]


def test_polls_of_a_waiter_are_operations(clients: Clients, client: Any, stored: str, recorder: EventRecorder) -> None:
    clients.call(client.get_waiter("object_exists").wait, Bucket=stored, Key="key")
    assert the_end(recorder).operation == "get_metadata"


def test_presigning_emits_nothing(clients: Clients, client: Any, stored: str, recorder: EventRecorder) -> None:
    url = clients.call(client.generate_presigned_url, "get_object", Params={"Bucket": stored, "Key": "key"})
    post = clients.call(client.generate_presigned_post, Bucket=stored, Key="key")

    assert stored in url
    assert post["fields"]
    assert not recorder.events
    clients.call(client.head_object, Bucket=stored, Key="key")
    assert the_end(recorder).outcome == "ok"


@pytest.mark.parametrize("method", ["get_object", "head_object"])
def test_missing_key_is_a_miss(
    method: str, clients: Clients, client: Any, plain: Any, bucket: str, recorder: EventRecorder
) -> None:
    errors = []
    for one in (plain, client):
        with pytest.raises(one.exceptions.ClientError) as caught:
            clients.call(getattr(one, method), Bucket=bucket, Key="missing")
        errors.append(caught.value)

    end = the_end(recorder)
    assert (end.outcome, end.error_type, end.bytes) == ("miss", "not_found", 0)
    assert type(end.error).__name__ == type(errors[0]).__name__ == type(errors[1]).__name__
    assert str(errors[0]) == str(errors[1])
    assert getattr(end.error, "code", None) == errors[0].response["Error"]["Code"]


def test_missing_bucket_is_an_error(clients: Clients, client: Any, recorder: EventRecorder) -> None:
    with pytest.raises(client.exceptions.NoSuchBucket):
        clients.call(client.get_object, Bucket="no-such-bucket", Key="key")

    end = the_end(recorder)
    assert (end.outcome, end.error_type) == ("error", "not_found")


def test_copy_of_a_missing_key_is_an_error(clients: Clients, client: Any, bucket: str, recorder: EventRecorder) -> None:
    with pytest.raises(client.exceptions.ClientError):
        clients.call(client.copy_object, Bucket=bucket, Key="new", CopySource={"Bucket": bucket, "Key": "missing"})

    assert the_end(recorder).outcome == "error"
    assert not recorder.of(StoreSetEvent)


def test_denied_call_is_an_error(
    clients: Clients, proxy: Proxy, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(clients.make("s3", proxy.url, key="nokey"), event_manager=manager)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        clients.call(client.get_object, Bucket=stored, Key="key")

    end = the_end(recorder)
    assert (end.outcome, end.error_type, getattr(end.error, "code", None)) == (
        "error",
        "permission_denied",
        "AccessDenied",
    )


def test_invalid_parameters_are_an_error(clients: Clients, client: Any, recorder: EventRecorder) -> None:
    for parameters in ({"Bucket": 5, "Key": "k"}, {"Bucket": ["b"]}, {"Bucket": "b", "Key": ["k"]}):
        with pytest.raises((TypeError, ParamValidationError)):
            clients.call(client.get_object, **parameters)

    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.outcome, end.error_type) for end in ends] == [("error", "invalid")] * 3


@pytest.mark.parametrize("kind", ["bytes", "BytesIO"])
def test_throttled_put_counts_its_bytes_once(
    kind: str, clients: Clients, client: Any, bucket: str, proxy: Proxy, recorder: EventRecorder, tmp_path: Path
) -> None:
    given = bodies(tmp_path)
    given["file"].close()
    proxy.slow_downs = 2
    clients.call(client.put_object, Bucket=bucket, Key="new", Body=given[kind])

    end = the_end(recorder)
    assert (end.outcome, end.attempts, end.bytes) == ("ok", 3, len(DATA))
    assert proxy.received == len(DATA)


def test_call_that_stays_throttled_is_an_error_without_bytes(
    clients: Clients, client: Any, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    proxy.slow_downs = 10
    with pytest.raises(client.exceptions.ClientError, match="SlowDown"):
        clients.call(client.put_object, Bucket=bucket, Key="new", Body=DATA)

    end = the_end(recorder)
    assert (end.outcome, end.attempts, end.bytes) == ("error", 3, 0)
    assert (end.error_type, getattr(end.error, "code", None)) == ("quota_exceeded", "SlowDown")
    assert not recorder.of(StoreSetEvent)


def test_unreachable_server_is_a_connection_error_after_all_attempts(
    clients: Clients, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(clients.make("s3", "http://127.0.0.1:9"), event_manager=manager)
    with pytest.raises(EndpointConnectionError):
        clients.call(client.list_buckets)

    end = the_end(recorder)
    assert (end.outcome, end.error_type, end.attempts) == ("error", "connection", 3)


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_body_that_breaks_off_is_an_error(
    reset: bool, clients: Clients, client: Any, plain: Any, stored: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    proxy.reset = reset
    caught = []
    for one in (plain, client):
        proxy.cuts = [50_000]
        body = clients.call(one.get_object, Bucket=stored, Key="key")["Body"]
        with pytest.raises(Exception) as error:  # noqa: PT011 (compared below)
            READERS["read_sized"](clients, body)
        caught.append(error.value)
        clients.call(body.close)

    end = the_end(recorder)
    assert type(caught[0]) is type(caught[1])
    assert (end.outcome, end.error_type) == ("error", "connection")
    assert 0 < end.bytes <= 50_000
    assert type(end.error).__name__ == type(caught[0]).__name__


@pytest.mark.parametrize("read", ["read", "read_sized", "read_exactly"])
def test_body_with_a_wrong_checksum_is_an_error(
    read: str, clients: Clients, client: Any, stored: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    proxy.corrupt = True
    body = clients.call(client.get_object, Bucket=stored, Key="key")["Body"]
    if read == "read_exactly":  # it stops before the body notices
        READERS[read](clients, body)
    else:
        with pytest.raises(FlexibleChecksumError):
            READERS[read](clients, body)

    end = the_end(recorder)
    assert (end.outcome, end.error_type) == ("error", "integrity")


def test_errors_carry_no_text_of_the_client(
    clients: Clients, client: Any, bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    for one in (client, observe(clients.make("s3", client.meta.endpoint_url), event_manager=manager, error_text=True)):
        with pytest.raises(client.exceptions.ClientError):
            clients.call(one.get_object, Bucket=bucket, Key="missing")

    without, with_text = recorder.of(StoreProgressEndEvent)
    assert str(without.error) == without.message == "NoSuchKey"
    assert "when calling the GetObject operation" in str(with_text.error)


def test_observing_twice_counts_once_with_the_last_options(
    clients: Clients, client: Any, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    again = observe(client, name="renamed", event_manager=manager)
    clients.call(client.head_object, Bucket=stored, Key="key")

    assert again is client
    assert the_end(recorder).store == "renamed"


def test_unobserve_leaves_no_trace(
    clients: Clients, plain: Any, stored: str, manager: EventManager, recorder: EventRecorder
) -> None:
    cls, state, methods = type(plain), dict(vars(plain)), dir(plain)
    shown = repr(plain).partition(" at ")[0]
    observed = observe(plain, event_manager=manager)
    assert isinstance(observed, cls)
    assert observed.__class__ is cls
    assert repr(observed).partition(" at ")[0] == shown
    assert type(observed).__name__ == cls.__name__

    assert unobserve(observed) is plain
    clients.call(plain.head_object, Bucket=stored, Key="key")
    assert not recorder.events
    assert type(plain) is cls
    assert dict(vars(plain)) == state
    assert dir(plain) == methods


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.usefixtures("every_step")
def test_failing_listener_does_not_reach_the_client(strict: bool, clients: Clients, plain: Any, stored: str) -> None:
    def fail(event: StoreEvent) -> None:
        raise OSError(event)

    manager = EventManager(strict=strict)
    client = observe(plain, event_manager=manager)
    for cls in (StoreProgressStepEvent, StoreProgressEndEvent, StoreEvent):
        manager.connect(cls, fail)
        body = clients.call(client.get_object, Bucket=stored, Key="key")["Body"]
        assert READERS["read_sized"](clients, body) == DATA
    clients.call(client.put_object, Bucket=stored, Key="key", Body=b"")
    with pytest.raises(client.exceptions.NoSuchKey):
        clients.call(client.get_object, Bucket=stored, Key="missing")
    manager.close()


def test_client_without_listeners_works(clients: Clients, client: Any, stored: str, proxy: Proxy) -> None:
    body = clients.call(client.get_object, Bucket=stored, Key="key")["Body"]
    assert clients.call(body.read) == DATA


def test_no_reference_keeps_the_client_its_results_or_errors_alive(
    clients: Clients, client: Any, stored: str, manager: EventManager
) -> None:
    seen = []
    with manager.connect(StoreProgressEndEvent, lambda event: seen.append(event.operation)):
        errors = []
        try:
            clients.call(client.get_object, Bucket=stored, Key="missing")
        except client.exceptions.NoSuchKey as error:
            errors.append(weakref.ref(error))
        body = clients.call(client.get_object, Bucket=stored, Key="key")["Body"]
        clients.call(body.read)
        references = [weakref.ref(body), *errors]
        del body
        gc.collect()

    assert seen == ["get", "get"]
    assert [reference() for reference in references] == [None, None]


def test_collected_client_takes_its_class_along(
    seaweedfs_url: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(SyncClients().make("s3", seaweedfs_url), event_manager=manager)
    client.list_buckets()
    references = [weakref.ref(one) for one in (client, type(client), client.__class__)]
    del client
    gc.collect()

    assert [reference() for reference in references] == [None] * 3
    assert the_end(recorder).outcome == "ok"


def test_replaced_method_is_called(
    client: Any, clients: Clients, stored: str, monkeypatch: pytest.MonkeyPatch, recorder: EventRecorder
) -> None:
    async def answer() -> dict[str, int]:
        return {"KeyCount": 7}

    def call(self: Any, name: str, parameters: object) -> Any:
        return answer() if isinstance(clients, AsyncClients) else {"KeyCount": 7}

    plain_class = client.__class__.__mro__[1]
    monkeypatch.setattr(plain_class, "_make_api_call", call)
    assert clients.call(client.list_objects_v2, Bucket=stored) == {"KeyCount": 7}
    assert the_end(recorder).operation == "list"
