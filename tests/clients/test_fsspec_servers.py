"""Observed file systems of real servers: HTTP and S3."""

from __future__ import annotations

import asyncio
import gc
import io
import pickle
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.http import HTTPFileSystem

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreModificationEvent, StoreProgressEndEvent, StoreTransactionEndEvent
from tests.clients.botocore_servers import KEY, SECRET, Proxy, fast_retries
from tests.clients.fsspec_support import changes, check, ends
from tests.clients.servers import FileServer
from tests.storage.support import settled

s3fs = pytest.importorskip("s3fs")

MIB = 1 << 20


@pytest.fixture
def http(file_server: FileServer, manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    file_server.files["/a"] = bytes(range(200))
    fs = HTTPFileSystem(skip_instance_cache=True)
    yield observe(fs, event_manager=manager)
    unobserve(fs)
    HTTPFileSystem.close_session(fs.loop, asyncio.run_coroutine_threadsafe(fs.set_session(), fs.loop).result())


@pytest.fixture
def options(seaweedfs_url: str) -> dict[str, Any]:
    return {"key": KEY, "secret": SECRET, "endpoint_url": seaweedfs_url, "use_listings_cache": False}


@pytest.fixture
def s3(options: dict[str, Any], bucket: str, manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    """Yield an observed S3 file system that the test shares with none."""
    fs = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    yield observe(fs, event_manager=manager)
    unobserve(fs)


def with_async(options: dict[str, Any], manager: EventManager, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `work(fs)` in a loop of its own, with an observed async S3 file system."""

    async def scenario() -> Any:
        fs = s3fs.S3FileSystem(**options, asynchronous=True, skip_instance_cache=True)
        session = await fs.set_session()
        try:
            return await work(observe(fs, event_manager=manager))
        finally:
            await session.close()

    return asyncio.run(scenario())


def test_store_of_a_url_is_named_by_its_host(http: Any, file_server: FileServer, recorder: EventRecorder) -> None:
    assert http.cat_file(f"{file_server.url}/a?signature=secret") == bytes(range(200))
    assert http.cat_file(f"{file_server.url}/a", start=10, end=20) == bytes(range(10, 20))

    assert ends(recorder) == [("get", "/a", "ok", 200, None), ("get_range", "/a", "ok", 10, None)]
    assert {end.store for end in recorder.of(StoreProgressEndEvent)} == {"http:127.0.0.1"}
    assert "secret" not in repr([vars(event) for event in recorder.events])
    assert file_server.sent == 210


def test_missing_and_denied_urls_are_told_apart(http: Any, file_server: FileServer, recorder: EventRecorder) -> None:
    with pytest.raises(FileNotFoundError):
        http.cat(f"{file_server.url}/zz")
    with pytest.raises(Exception, match="403"):
        http.cat(f"{file_server.url}/denied")
    assert http.exists(f"{file_server.url}/zz") is False
    with pytest.raises(FileNotFoundError):
        http.open(f"{file_server.url}/zz")

    found = [(end.operation, end.outcome, end.error_type) for end in recorder.of(StoreProgressEndEvent)]
    assert found == [
        ("get", "miss", "not_found"),
        ("get", "error", "permission_denied"),
        ("exists", "ok", None),
        ("get", "miss", "not_found"),
    ]
    assert recorder.of(StoreProgressEndEvent)[1].error.code == "403"  # type: ignore[union-attr]
    check(recorder)


@pytest.mark.parametrize(
    ("read", "size", "fetched"),
    [
        ("file.read()", 200, 200),
        ("file.read(10)", 10, 60),
        ("[file.read(10), file.seek(150), file.read(10)]", 20, 110),
        ("[file.readline(), file.readline()]", 200, 200),
    ],
)
def test_open_url_counts_delivered_and_fetched_bytes(
    http: Any, file_server: FileServer, recorder: EventRecorder, read: str, size: int, fetched: int
) -> None:
    with http.open(f"{file_server.url}/a", block_size=50) as file:
        eval(read, {"file": file})

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.key, end.outcome) == ("get", "/a", "ok")
    if "readline" not in read:
        assert (end.bytes, end.fetched) == (size, fetched)
    assert end.fetched == file_server.sent
    check(recorder)


def test_streamed_url_counts_its_bytes(http: Any, file_server: FileServer, recorder: EventRecorder) -> None:
    with http.open(f"{file_server.url}/a", block_size=0) as file:
        assert file.read(10) == bytes(range(10))
        assert file.read() == bytes(range(10, 200))

    assert ends(recorder) == [("get", "/a", "ok", 200, None)]


def test_interrupted_download_counts_what_arrived(
    http: Any, file_server: FileServer, recorder: EventRecorder, tmp_path: Path
) -> None:
    file_server.files["/big"] = bytes(3 * MIB)
    file_server.cut["/big"] = 2 * MIB
    with pytest.raises(Exception, match=r"(?i)payload|not completed|not enough"):
        http.get_file(f"{file_server.url}/big", str(tmp_path / "big"), chunk_size=MIB)

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.outcome) == ("get", "error")
    assert end.bytes == (tmp_path / "big").stat().st_size > 0
    check(recorder)


def test_uploading_by_put_counts_the_local_file(
    http: Any, file_server: FileServer, recorder: EventRecorder, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    http.pipe_file(f"{file_server.url}/up", b"123")

    assert file_server.files["/up"] == b"123"
    assert ends(recorder) == [("set", "/up", "ok", 3, None)]
    assert changes(recorder) == [("set", "/up")]


def test_async_url_is_one_operation(manager: EventManager, recorder: EventRecorder, file_server: FileServer) -> None:
    file_server.files["/a"] = bytes(200)

    async def scenario() -> None:
        fs = observe(HTTPFileSystem(asynchronous=True, skip_instance_cache=True), event_manager=manager)
        session = await fs.set_session()
        assert len(await fs._cat_file(f"{file_server.url}/a")) == 200
        assert set(await fs._cat([f"{file_server.url}/a", f"{file_server.url}/a"]))
        file = await fs.open_async(f"{file_server.url}/a")
        async with file:
            assert len(await file.read(50)) == 50
        await session.close()

    asyncio.run(scenario())

    assert ends(recorder) == [
        ("get", "/a", "ok", 200, None),
        ("get", None, "ok", 200, 1),
        ("get", "/a", "ok", 50, None),
    ]
    check(recorder)


def test_objects_are_written_and_read(s3: Any, bucket: str, recorder: EventRecorder, tmp_path: Path) -> None:
    s3.pipe(f"{bucket}/a", b"12345")
    s3.pipe({f"{bucket}/b": b"1", f"{bucket}/c": b"12"})
    assert s3.cat(f"s3://{bucket}/a") == b"12345"
    assert s3.cat_file(f"{bucket}/a", start=1, end=3) == b"23"
    assert s3.cat([f"{bucket}/a", f"{bucket}/b"]) == {f"{bucket}/a": b"12345", f"{bucket}/b": b"1"}
    assert s3.cat_ranges([f"{bucket}/a"] * 2, [0, 1], [1, 3]) == [b"1", b"23"]
    assert s3.head(f"{bucket}/a", 2) == b"12"
    s3.get(f"{bucket}/a", str(tmp_path / "a"))
    s3.put(str(tmp_path / "a"), f"{bucket}/d")

    assert ends(recorder) == [
        ("set", f"{bucket}/a", "ok", 5, None),
        ("set", None, "ok", 3, 2),
        ("get", f"{bucket}/a", "ok", 5, None),
        ("get_range", f"{bucket}/a", "ok", 2, None),
        ("get", None, "ok", 6, 2),
        ("get_range", None, "ok", 3, 2),
        ("get_range", f"{bucket}/a", "ok", 2, None),
        ("get", f"{bucket}/a", "ok", 5, None),
        ("set", f"{bucket}/d", "ok", 5, None),
    ]
    assert {end.store for end in recorder.of(StoreProgressEndEvent)} == {f"s3:{bucket}"}
    assert sorted(str(key) for _, key in changes(recorder)) == [f"{bucket}/{name}" for name in "abcd"]
    check(recorder)


def test_objects_are_listed_moved_and_deleted(s3: Any, bucket: str, recorder: EventRecorder) -> None:
    s3.pipe(f"{bucket}/a", b"12345")
    recorder.clear()
    assert s3.ls(bucket, detail=False) == [f"{bucket}/a"]
    assert s3.find(bucket) == s3.glob(f"{bucket}/*") == [f"{bucket}/a"]
    assert list(s3.walk(bucket)) == [(bucket, [], ["a"])]
    assert s3.du(bucket) == 5
    assert s3.info(f"{bucket}/a")["size"] == 5
    assert s3.exists(f"{bucket}/zz") is False
    s3.copy(f"{bucket}/a", f"{bucket}/b")
    s3.mv(f"{bucket}/b", f"{bucket}/c")
    s3.touch(f"{bucket}/d")
    s3.rm([f"{bucket}/a", f"{bucket}/c"])
    s3.rm_file(f"{bucket}/d")

    assert [end[0] for end in ends(recorder)] == [
        *["list"] * 5,
        *("get_metadata", "exists", "copy", "move", "set", "delete", "delete"),
    ]
    assert {end[2] for end in ends(recorder)} == {"ok"}
    assert [(action, (key or "").rpartition("/")[2]) for action, key in changes(recorder)] == [
        ("set", "b"),
        ("set", "c"),
        ("delete", "b"),
        ("set", "d"),
        ("delete", "a"),
        ("delete", "c"),
        ("delete", "d"),
    ]
    check(recorder)


def test_open_object_counts_delivered_and_fetched_bytes(s3: Any, bucket: str, recorder: EventRecorder) -> None:
    s3.pipe(f"{bucket}/a", bytes(3 * MIB))
    recorder.clear()
    with s3.open(f"{bucket}/a", block_size=MIB) as file:
        file.read(10)
        file.seek(2 * MIB)
        file.read(10)

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.bytes, end.steps) == ("get", 20, 3 * MIB)
    assert end.fetched is not None
    assert 2 * MIB <= end.fetched <= 3 * MIB
    assert end.first_byte is not None
    check(recorder)


def test_multipart_upload_is_one_operation(s3: Any, bucket: str, recorder: EventRecorder) -> None:
    with s3.open(f"{bucket}/a", "wb", block_size=5 * MIB) as file:
        for _ in range(12):
            file.write(bytes(MIB))
        assert changes(recorder) == []
    with s3.open(f"{bucket}/text", "w") as text:
        text.write("äöü")

    assert ends(recorder) == [
        ("set", f"{bucket}/a", "ok", 12 * MIB, None),
        ("set", f"{bucket}/text", "ok", 6, None),
    ]
    assert [key for _, key in changes(recorder)] == [f"{bucket}/a", f"{bucket}/text"]
    assert s3.size(f"{bucket}/a") == 12 * MIB
    check(recorder)


def test_missing_objects_are_misses(s3: Any, bucket: str, recorder: EventRecorder) -> None:
    for call in (s3.cat, s3.cat_file, s3.info, s3.open, s3.ls):
        with pytest.raises(FileNotFoundError):
            call(f"{bucket}/zz")

    assert {(end.outcome, end.error_type) for end in recorder.of(StoreProgressEndEvent)} == {("miss", "not_found")}
    assert [end[0] for end in ends(recorder)] == ["get", "get", "get_metadata", "get", "list"]


def test_denied_requests_are_errors(
    options: dict[str, Any], bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = observe(s3fs.S3FileSystem(**{**options, "secret": "wrong"}, skip_instance_cache=True), event_manager=manager)
    with pytest.raises(PermissionError):
        fs.cat(f"{bucket}/a")
    with pytest.raises(PermissionError):
        fs.pipe(f"{bucket}/a", b"1")

    found = [(end.outcome, end.error_type, end.bytes) for end in recorder.of(StoreProgressEndEvent)]
    assert found == [("error", "permission_denied", 0)] * 2
    assert recorder.of(StoreProgressEndEvent)[1].error.code == "SignatureDoesNotMatch"  # type: ignore[union-attr]
    assert changes(recorder) == []


def test_transaction_of_objects_is_committed_or_discarded(s3: Any, bucket: str, recorder: EventRecorder) -> None:
    with s3.transaction:
        with s3.open(f"{bucket}/a", "wb") as file:
            file.write(b"12345")
        assert not s3.exists(f"{bucket}/a")
        assert changes(recorder) == []
    with pytest.raises(ZeroDivisionError), s3.transaction:
        with s3.open(f"{bucket}/b", "wb") as file:
            file.write(b"1")
        raise ZeroDivisionError

    assert [(end.store, end.outcome, end.held) for end in recorder.of(StoreTransactionEndEvent)] == [
        ("s3", "committed", 1),
        ("s3", "rolled_back", 1),
    ]
    assert changes(recorder) == [("set", f"{bucket}/a")]
    assert s3.ls(bucket, detail=False) == [f"{bucket}/a"]
    assert recorder.one(StoreModificationEvent).transaction_id is not None


def test_async_methods_are_one_operation(
    options: dict[str, Any], bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    async def work(fs: Any) -> None:
        await fs._pipe({f"{bucket}/{number}": bytes(number) for number in range(10)})
        assert len(await fs._cat([f"{bucket}/{number}" for number in range(10)])) == 10
        assert len(await fs._find(bucket)) == 10
        assert [entry async for entry in fs._walk(bucket)]
        await fs._rm(f"{bucket}/1")
        async with await fs.open_async(f"{bucket}/9") as file:
            assert len(await file.read()) == 9

    with_async(options, manager, work)

    assert ends(recorder) == [
        ("set", None, "ok", 45, 10),
        ("get", None, "ok", 45, 10),
        ("list", bucket, "ok", 0, 10),
        ("list", bucket, "ok", 0, 10),
        ("delete", f"{bucket}/1", "ok", 0, None),
        ("get", f"{bucket}/9", "ok", 9, None),
    ]
    check(recorder)


def test_cancelled_task_is_cancelled(manager: EventManager, recorder: EventRecorder) -> None:
    async def scenario() -> None:
        asked, closed = asyncio.Event(), asyncio.Event()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            while await reader.read(1000):  # until the client gives up
                pass
            writer.close()
            await writer.wait_closed()
            closed.set()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            fs = observe(HTTPFileSystem(asynchronous=True, skip_instance_cache=True), event_manager=manager)
            session = await fs.set_session()
            task = asyncio.ensure_future(fs._cat_file(f"http://127.0.0.1:{port}/a"))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await session.close()
            await closed.wait()

    asyncio.run(scenario())

    assert ends(recorder) == [("get", "/a", "cancelled", 0, None)]
    check(recorder)


def test_pickled_object_is_opened_again(options: dict[str, Any], bucket: str, manager: EventManager) -> None:
    fs = observe(s3fs.S3FileSystem(**options), event_manager=manager)
    recorder = EventRecorder(manager)
    try:
        fs.pipe(f"{bucket}/a", b"12345")
        assert pickle.loads(pickle.dumps(fs)) is fs
        with fs.open(f"{bucket}/a") as file:
            file.read(2)
            with pickle.loads(pickle.dumps(file)) as again:
                assert again.read() == b"345"
    finally:
        unobserve(fs)

    assert [end[3] for end in ends(recorder) if end[0] == "get"] == [3, 2]


def test_cache_over_s3_is_a_store_of_its_own(
    s3: Any, bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    s3.pipe(f"{bucket}/a", b"12345")
    recorder.clear()
    fs = observe(fsspec.filesystem("simplecache", fs=s3, skip_instance_cache=True), event_manager=manager)
    for _ in range(2):
        with fs.open(f"{bucket}/a") as file:
            assert file.read() == b"12345"
    fs.find(bucket)

    found = [(end.store, end.operation, end.bytes) for end in recorder.of(StoreProgressEndEvent)]
    assert [one for one in found if one[1] == "get"] == [
        (f"s3:{bucket}", "get", 5),
        ("simplecache", "get", 5),
        ("simplecache", "get", 5),
    ]
    assert found[-2:] == [(f"s3:{bucket}", "list", 0), ("simplecache", "list", 0)]
    check(recorder)


def test_pandas_reads_parquet_from_s3(
    options: dict[str, Any], bucket: str, manager: EventManager, recorder: EventRecorder
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    observe(fsspec, event_manager=manager)
    try:
        table = pandas.DataFrame({"a": range(1000)})
        table.to_parquet(f"s3://{bucket}/a.parquet", storage_options=options)
        assert pandas.read_parquet(f"s3://{bucket}/a.parquet", storage_options=options).equals(table)
        table.to_csv(f"s3://{bucket}/a.csv", storage_options=options)
        assert len(pandas.read_csv(f"s3://{bucket}/a.csv", storage_options=options)) == 1000
    finally:
        unobserve(fsspec)
    gc.collect()
    settled()

    done = {(end[0], (end[1] or "").rpartition("/")[2]): end for end in ends(recorder) if end[3]}
    csv = len(table.to_csv().encode())
    assert done["set", "a.csv"][2:4] == done["get", "a.csv"][2:4] == ("ok", csv)
    assert done["get", "a.parquet"][3] > 1000
    check(recorder)


def test_secrets_are_in_no_event(options: dict[str, Any], bucket: str, s3: Any, recorder: EventRecorder) -> None:
    s3.pipe(f"{bucket}/a", b"12345")
    with pytest.raises(FileNotFoundError):
        s3.cat(f"{bucket}/zz")
    text = io.StringIO()
    for event in recorder.events:
        text.write(repr({name: value for name, value in vars(event).items() if name != "source"}))

    assert SECRET not in text.getvalue()
    assert "127.0.0.1" not in text.getvalue()


@pytest.mark.parametrize("with_client", [False, True], ids=["file system", "file system and its client"])
def test_retried_requests_are_attempts_of_the_operation(
    options: dict[str, Any],
    bucket: str,
    proxy: Proxy,
    manager: EventManager,
    recorder: EventRecorder,
    monkeypatch: pytest.MonkeyPatch,
    *,
    with_client: bool,
) -> None:
    aiobotocore = pytest.importorskip("aiobotocore")
    fast_retries(monkeypatch)
    config = {"retries": {"mode": "standard", "max_attempts": 5}}
    if with_client:
        observe(aiobotocore, event_manager=manager)
    fs = s3fs.S3FileSystem(**{**options, "endpoint_url": proxy.url}, config_kwargs=config, skip_instance_cache=True)
    observe(fs, event_manager=manager)
    try:
        fs.pipe(f"{bucket}/a", bytes(2000))
        proxy.slow_downs = 2
        assert fs.cat_file(f"{bucket}/a") == bytes(2000)
        with fs.open(f"{bucket}/a") as file:
            proxy.slow_downs = 1
            file.read(10)
    finally:
        unobserve(fs)
        unobserve(aiobotocore)

    found = [(end.store, end.operation, end.bytes, end.attempts) for end in recorder.of(StoreProgressEndEvent)]
    store = f"s3:{bucket}"
    assert found == [(store, "set", 2000, 1), (store, "get", 2000, 3), (store, "get", 10, 2)]
    assert recorder.of(StoreProgressEndEvent)[-1].fetched == 2000
    check(recorder)


def test_bytes_are_those_that_the_server_sent(
    options: dict[str, Any], bucket: str, proxy: Proxy, manager: EventManager, recorder: EventRecorder
) -> None:
    fs = s3fs.S3FileSystem(**{**options, "endpoint_url": proxy.url}, skip_instance_cache=True)
    observe(fs, event_manager=manager)
    fs.pipe(f"{bucket}/a", bytes(3 * MIB))
    sent = proxy.sent
    with fs.open(f"{bucket}/a", block_size=MIB) as file:
        while file.read(100_000):
            pass

    end = recorder.of(StoreProgressEndEvent)[-1]
    assert (end.bytes, end.fetched) == (3 * MIB, proxy.sent - sent)
    unobserve(fs)
