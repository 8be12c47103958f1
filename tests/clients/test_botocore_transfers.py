"""Managed transfers of an observed client of boto3: one operation each, whatever their threads request."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from boto3.s3.transfer import TransferConfig

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe
from encore_storage.events import (
    StoreEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
)
from tests.clients.botocore_servers import Proxy, SyncClients, fast_retries

PART = 5 * 2**20
BIG = bytes(range(251)) * (2 * PART // 251 + 1000)
"""More than two parts."""

CONFIG = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)


@pytest.fixture
def client(proxy: Proxy, manager: EventManager, monkeypatch: pytest.MonkeyPatch) -> Any:
    fast_retries(monkeypatch)
    return observe(SyncClients().make("s3", proxy.url), event_manager=manager)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(BIG)
    return path


def the_end(recorder: EventRecorder) -> StoreProgressEndEvent:
    start, end = recorder.one(StoreProgressStartEvent), recorder.one(StoreProgressEndEvent)
    assert start.operation_id == end.operation_id
    assert end.delta + sum(step.delta for step in recorder.of(StoreProgressStepEvent)) == end.bytes
    return end


UPLOADS: dict[str, Callable[[Any, Path, str], None]] = {
    "upload_file": lambda client, file, bucket: client.upload_file(str(file), bucket, "big", Config=CONFIG),
    "upload_fileobj": lambda client, file, bucket: client.upload_fileobj(
        io.BytesIO(file.read_bytes()), bucket, "big", Config=CONFIG
    ),
    "keywords": lambda client, file, bucket: client.upload_file(Filename=file, Bucket=bucket, Key="big", Config=CONFIG),
    "one_request": lambda client, file, bucket: client.upload_file(
        str(file), bucket, "big", Config=TransferConfig(multipart_threshold=2**30)
    ),
    "without_threads": lambda client, file, bucket: client.upload_file(
        str(file), bucket, "big", Config=TransferConfig(use_threads=False)
    ),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.usefixtures("every_step")
def test_upload_is_one_set_with_the_bytes_of_all_parts(
    upload: Callable[[Any, Path, str], None],
    client: Any,
    plain_s3: Any,
    file: Path,
    bucket: str,
    proxy: Proxy,
    recorder: EventRecorder,
) -> None:
    upload(client, file, bucket)

    end = the_end(recorder)
    assert (end.store, end.operation, end.direction, end.key) == (f"s3:{bucket}", "set", "write", f"{bucket}/big")
    assert (end.outcome, end.bytes, end.attempts) == ("ok", len(BIG), 1)
    assert len(BIG) <= proxy.received < len(BIG) + 1000  # and the list of the parts
    assert recorder.one(StoreSetEvent).key == f"{bucket}/big"
    assert plain_s3.get_object(Bucket=bucket, Key="big")["Body"].read() == BIG


def _download_fileobj(client: Any, file: Path, bucket: str) -> None:
    with file.open("wb") as stream:
        client.download_fileobj(bucket, "big", stream, Config=CONFIG)


DOWNLOADS: dict[str, Callable[[Any, Path, str], object]] = {
    "download_file": lambda client, file, bucket: client.download_file(bucket, "big", str(file), Config=CONFIG),
    "download_fileobj": _download_fileobj,
    "one_request": lambda client, file, bucket: client.download_file(
        bucket, "big", str(file), Config=TransferConfig(multipart_threshold=2**30)
    ),
}


@pytest.mark.parametrize("download", DOWNLOADS.values(), ids=DOWNLOADS)
@pytest.mark.usefixtures("every_step")
def test_download_is_one_get_with_the_bytes_of_all_parts(
    download: Callable[[Any, Path, str], object],
    client: Any,
    plain_s3: Any,
    tmp_path: Path,
    bucket: str,
    proxy: Proxy,
    recorder: EventRecorder,
) -> None:
    plain_s3.put_object(Bucket=bucket, Key="big", Body=BIG)
    download(client, tmp_path / "copy", bucket)

    end = the_end(recorder)
    assert (end.store, end.operation, end.direction, end.key) == (f"s3:{bucket}", "get", "read", f"{bucket}/big")
    assert (end.outcome, end.attempts) == ("ok", 1)
    assert end.bytes == end.steps == len(BIG) == proxy.sent
    assert end.first_byte is not None
    assert 0 < end.first_byte < end.duration
    assert (tmp_path / "copy").read_bytes() == BIG


def test_managed_copy_is_one_copy(client: Any, plain_s3: Any, bucket: str, recorder: EventRecorder) -> None:
    plain_s3.put_object(Bucket=bucket, Key="big", Body=BIG)
    client.copy({"Bucket": bucket, "Key": "big"}, bucket, "copied", SourceClient=client, Config=CONFIG)

    end = the_end(recorder)
    assert (end.operation, end.key, end.outcome, end.bytes) == ("copy", f"{bucket}/copied", "ok", 0)
    assert recorder.one(StoreSetEvent).key == f"{bucket}/copied"
    assert plain_s3.head_object(Bucket=bucket, Key="copied")["ContentLength"] == len(BIG)


def test_transfers_of_a_resource_are_one_operation(
    client: Any, proxy: Proxy, file: Path, bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    resource = observe(SyncClients().resource("s3", proxy.url), event_manager=manager)
    resource.Bucket(bucket).Object("big").upload_file(str(file), Config=CONFIG)
    resource.Bucket(bucket).download_file("big", str(file), Config=CONFIG)

    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.operation, end.bytes) for end in ends] == [("set", len(BIG)), ("get", len(BIG))]


def test_retries_of_an_upload_are_attempts_and_count_no_bytes(
    client: Any, file: Path, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    proxy.slow_downs = 2
    client.upload_file(str(file), bucket, "big", Config=CONFIG)

    assert (the_end(recorder).attempts, the_end(recorder).bytes) == (3, len(BIG))


def test_body_that_breaks_off_in_a_download_is_an_attempt(
    client: Any, plain_s3: Any, tmp_path: Path, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    plain_s3.put_object(Bucket=bucket, Key="big", Body=BIG)
    proxy.cuts = [100_000]
    client.download_file(bucket, "big", str(tmp_path / "copy"), Config=CONFIG)

    end = the_end(recorder)
    assert (end.outcome, end.attempts, end.bytes) == ("ok", 2, len(BIG))
    assert (tmp_path / "copy").read_bytes() == BIG
    assert proxy.sent > len(BIG)


def test_download_that_keeps_breaking_off_is_an_error(
    client: Any, plain_s3: Any, tmp_path: Path, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    plain_s3.put_object(Bucket=bucket, Key="big", Body=BIG[:PART])
    proxy.cuts = [1_000_000] * 10
    with pytest.raises(RetriesExceededError):
        client.download_file(bucket, "big", str(tmp_path / "copy"))

    end = the_end(recorder)
    assert (end.outcome, end.error_type, end.attempts) == ("error", "connection", 5)


def test_download_of_a_missing_key_is_a_miss(client: Any, tmp_path: Path, bucket: str, recorder: EventRecorder) -> None:
    with pytest.raises(client.exceptions.ClientError):
        client.download_file(bucket, "missing", str(tmp_path / "copy"))

    assert (the_end(recorder).outcome, the_end(recorder).error_type) == ("miss", "not_found")


def test_failed_upload_is_an_error_without_a_change(
    client: Any, file: Path, bucket: str, proxy: Proxy, recorder: EventRecorder
) -> None:
    proxy.slow_downs = 100
    with pytest.raises(S3UploadFailedError):
        client.upload_file(str(file), bucket, "big", Config=CONFIG)

    end = the_end(recorder)
    assert (end.outcome, end.error_type, end.bytes) == ("error", "quota_exceeded", 0)
    assert (type(end.error).__name__, getattr(end.error, "code", None)) == ("S3UploadFailedError", "SlowDown")
    assert not recorder.of(StoreSetEvent)


def test_upload_of_a_missing_file_is_an_error(client: Any, bucket: str, recorder: EventRecorder) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload_file("/no/such/file", bucket, "big")

    assert (the_end(recorder).outcome, the_end(recorder).error_type) == ("error", "not_found")


def test_wrong_arguments_raise_what_the_plain_client_raises(
    client: Any, plain_s3: Any, recorder: EventRecorder
) -> None:
    messages = []
    for one in (client, plain_s3):
        with pytest.raises(TypeError) as caught:
            one.upload_file("file")
        messages.append(str(caught.value))

    assert messages[0] == messages[1]
    assert not recorder.events


def test_callback_of_the_program_is_called_and_may_fail(
    client: Any, plain_s3: Any, file: Path, bucket: str, recorder: EventRecorder
) -> None:
    def fail(size: int) -> None:
        raise ZeroDivisionError(size)

    plain_s3.put_object(Bucket=bucket, Key="big", Body=BIG)
    sizes: list[int] = []
    client.download_file(bucket, "big", str(file), Callback=sizes.append, Config=CONFIG)
    client.upload_file(str(file), bucket, "big", Callback=sizes.append, Config=CONFIG)
    with pytest.raises(ZeroDivisionError):
        client.download_file(bucket, "big", str(file), Callback=fail, Config=CONFIG)

    assert sum(sizes) == 2 * len(BIG)
    assert [end.outcome for end in recorder.of(StoreProgressEndEvent)] == ["ok", "ok", "error"]


def test_methods_keep_their_names_and_documentation(client: Any, plain_s3: Any) -> None:
    for name in ("upload_file", "download_file", "copy"):
        ours, theirs = getattr(client, name), getattr(plain_s3, name)
        assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)


def test_transfer_inside_of_a_failing_listener_succeeds(proxy: Proxy, file: Path, bucket: str, plain_s3: Any) -> None:
    def fail(event: StoreEvent) -> None:
        raise OSError(event)

    manager = EventManager(strict=True)
    manager.connect(StoreEvent, fail)
    client = observe(SyncClients().make("s3", proxy.url), event_manager=manager)
    client.upload_file(str(file), bucket, "big", Config=CONFIG)
    client.download_file(bucket, "big", str(file), Config=CONFIG)
    manager.close()

    assert file.read_bytes() == BIG
