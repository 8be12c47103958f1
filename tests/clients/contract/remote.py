"""The cases of fsspec's file systems with a server: HTTP and S3."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import s3fs
from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.http import HTTPFileSystem

from encore_events.testing import EventRecorder
from encore_storage import observe
from tests.clients.botocore_servers import KEY, SECRET, Proxy, fast_retries
from tests.clients.contract.cases import BIG, Case
from tests.clients.contract.filesystems import NO_RETRIES, SYNC_TRANSACTIONS, AsyncFileSystem, FileSystem
from tests.clients.contract.servers import killable_s3, stored_object
from tests.clients.servers import FileServer

BELOW = "that is up to the file system below"


class Http(FileSystem):
    """Files of a server of HTTP."""

    name = "fsspec http"
    error_type = "permission_denied"
    inapplicable: ClassVar[Mapping[str, str]] = {
        "cancelled": "tested with a server that stalls in test_fsspec_servers",
        "server killed": "its server of the tests runs in a thread",
        "delete and list": "it cannot delete",
        "retries": NO_RETRIES,
        "transactions": "it writes at once",
        "transactions of the server": "it has none",
    }
    store = "http:127.0.0.1"

    @property
    def server(self) -> FileServer:
        """The server."""
        server: FileServer = self.fixture("file_server")
        return server

    def path(self, key: str) -> str:
        return f"{self.server.url}/{key}"

    def key(self, key: str) -> str | None:
        return f"/{key}"

    def make(self) -> Any:
        fs = HTTPFileSystem(skip_instance_cache=True)
        self._closing.callback(self._close, fs, os.getpid())
        return fs

    @staticmethod
    def _close(fs: Any, process: int) -> None:
        if process == os.getpid():
            session = asyncio.run_coroutine_threadsafe(fs.set_session(), fs.loop).result()
            HTTPFileSystem.close_session(fs.loop, session)

    def in_child(self, client: Any) -> Any:
        return observe(HTTPFileSystem(skip_instance_cache=True), event_manager=self.manager)

    def put_outside(self, key: str, data: bytes) -> None:
        self.server.files[f"/{key}"] = data

    def stored(self, key: str) -> bytes | None:
        return self.server.files.get(f"/{key}")

    def sent(self) -> int | None:
        return self.server.sent

    def fail(self, client: Any) -> Any:
        return client.cat_file(self.path("denied"))

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.server.cut["/a"] = 50_000
        yield
        del self.server.cut["/a"]


class S3(FileSystem):
    """s3fs, over SeaweedFS behind a proxy."""

    name = "fsspec s3fs"
    error_type = "permission_denied"
    inapplicable: ClassVar[Mapping[str, str]] = {"transactions of the server": "S3 counts none"}
    asynchronous = False

    @property
    def proxy(self) -> Proxy:
        """The proxy."""
        proxy: Proxy = self.fixture("proxy")
        return proxy

    @property
    def store(self) -> str:
        return f"s3:{self.fixture('bucket')}"

    @property
    def transaction_store(self) -> str:
        return "s3"  # a transaction may write to several buckets

    def path(self, key: str) -> str:
        return f"{self.fixture('bucket')}/{key}"

    def options(self, url: str, key: str = KEY) -> dict[str, Any]:
        """Return the options of a file system."""
        options = {"key": key, "secret": SECRET, "endpoint_url": url, "use_listings_cache": False}
        retries = {"retries": {"mode": "standard", "max_attempts": 3}}
        return {**options, "config_kwargs": retries, "skip_instance_cache": True, "asynchronous": self.asynchronous}

    def make(self) -> Any:
        return self.make_for(self.proxy.url)

    def make_for(self, url: str, key: str = KEY) -> Any:
        """Return a file system for a server and a user."""
        return s3fs.S3FileSystem(**self.options(url, key))

    def make_refused(self) -> Any:
        return self.make_for(self.proxy.url, "nokey")

    def make_for_load(self) -> Any:
        return self.make_for(self.fixture("seaweedfs_url"))

    def in_child(self, client: Any) -> Any:
        return observe(self.make(), event_manager=self.manager)  # fsspec refuses the parent's

    def put_outside(self, key: str, data: bytes) -> None:
        self.fixture("plain_s3").put_object(Bucket=self.fixture("bucket"), Key=key, Body=data)

    def stored(self, key: str) -> bytes | None:
        return stored_object(self.fixture("plain_s3"), self.fixture("bucket"), key)

    def sent(self) -> int | None:
        return self.proxy.sent

    def accepted(self) -> int | None:
        return self.proxy.received

    def fail(self, client: Any) -> Any:
        return self.get(client, "a")

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.fixture("monkeypatch").setattr(s3fs.S3FileSystem, "retries", 1)
        self.proxy.cuts = [50_000] * 10
        yield
        self.proxy.cuts = []

    @contextmanager
    def throttled(self) -> Iterator[None]:
        fast_retries(self.fixture("monkeypatch"))
        self.proxy.slow_downs = 2
        yield

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        self.proxy.stall = "body"
        return lambda: self.get(client, "a"), self.proxy.stalled.is_set

    def killed(self) -> tuple[Any, Callable[[Any], Any]]:
        fast_retries(self.fixture("monkeypatch"))
        self.fixture("monkeypatch").setattr(s3fs.S3FileSystem, "retries", 1)
        url = self._closing.enter_context(killable_s3(self.fixture("tmp_path")))
        return self.make_for(url), self.put_big

    def put_big(self, client: Any) -> Any:
        """Write to the bucket of the server that is killed."""
        return client.pipe_file("bucket/big", bytes(BIG))


class Cache(S3):
    """A layer over s3fs that keeps the values in files."""

    name = "fsspec simplecache"
    store = transaction_store = "simplecache"
    layer: Any = SimpleCacheFileSystem
    inapplicable: ClassVar[Mapping[str, str]] = {
        **S3.inapplicable,
        "cancelled": BELOW,
        "server killed": BELOW,
        "retries": BELOW,
    }

    def make_for(self, url: str, key: str = KEY) -> Any:
        folder: Path = self.fixture("tmp_path") / uuid.uuid4().hex
        return self.layer(fs=super().make_for(url, key), cache_storage=str(folder), skip_instance_cache=True)


class FileCache(Cache):
    """A layer over s3fs that keeps the values in files, and remembers them."""

    name = "fsspec filecache"
    store = transaction_store = "filecache"
    inapplicable: ClassVar[Mapping[str, str]] = {
        **Cache.inapplicable,
        "transactions": "fsspec writes its files at once, also in a transaction",
        "threads or tasks": "without `observe` as well, its list of files fails in threads",
    }
    layer: Any = WholeFileCacheFileSystem


class AsyncS3(AsyncFileSystem, S3):
    """s3fs in the loop of the caller."""

    name = "fsspec s3fs async"
    asynchronous = True
    inapplicable: ClassVar[Mapping[str, str]] = {**S3.inapplicable, "transactions": SYNC_TRANSACTIONS}

    def make_for(self, url: str, key: str = KEY) -> Any:
        fs = super().make_for(url, key)
        self._closing.callback(self._close, self.call(fs.set_session), os.getpid())
        return fs

    def _close(self, session: Any, process: int) -> None:
        if process == os.getpid():
            self.call(session.close)

    def fail(self, client: Any) -> Any:
        return self.get(client, "a")

    def put_big(self, client: Any) -> Any:
        return client._pipe_file("bucket/big", bytes(BIG))


REMOTE: list[type[Case]] = [Http, S3, Cache, FileCache, AsyncS3]
