"""The cases of fsspec's file systems."""

from __future__ import annotations

import asyncio
import os
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import s3fs
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.zip import ZipFileSystem

from encore_events.testing import EventRecorder
from encore_storage import observe
from tests.clients.botocore_servers import KEY, SECRET, Proxy, fast_retries
from tests.clients.contract.cases import BIG, DATA, AsyncCase, Case
from tests.clients.contract.servers import killable_s3, stored_object
from tests.clients.fsspec_support import make as make_memory
from tests.clients.servers import FileServer

BELOW = "that is up to the file system below"
NO_RETRIES = "it has no retries"
NO_SERVER = "it has no server"
NO_CONNECTION = "it has no connection"
NEVER_BLOCKS = "its calls never block"
SYNC_TRANSACTIONS = "fsspec's transactions are synchronous"


class FileSystem(Case):
    """A synchronous file system."""

    def path(self, key: str) -> str:
        """Return the path of a key."""
        return key

    def key(self, key: str) -> str | None:
        return self.path(key)

    def put(self, client: Any, key: str, data: bytes) -> Any:
        return client.pipe_file(self.path(key), data)

    def get(self, client: Any, key: str) -> Any:
        return client.cat_file(self.path(key))

    def delete(self, client: Any, key: str) -> Any:
        return client.rm_file(self.path(key))

    def keys(self, client: Any) -> Any:
        return client.ls(self.path("").rstrip("/"), detail=False)

    def begin(self, client: Any, key: str) -> Any:
        file = client.open(self.path(key))
        assert file.read(2) == DATA[:2]
        return file

    def parts(self, client: Any) -> Iterator[Any]:
        yield from (client, type(client), s3fs.core)

    def commit(self, client: Any, key: str, error: BaseException | None = None) -> Any:
        with client.transaction:
            with client.open(self.path(key), "wb") as file:
                file.write(DATA)
            if error is not None:
                raise error

    def read_in_transaction(self, client: Any) -> Any:
        with client.transaction:
            client.exists(self.path("a"))


class Local(FileSystem):
    """Local files."""

    name = "fsspec local"
    error_type = "conflict"
    inapplicable = {
        "reset in mid-body": NO_CONNECTION,
        "server killed": NO_SERVER,
        "cancelled": NEVER_BLOCKS,
        "retries": NO_RETRIES,
        "transactions of the server": NO_SERVER,
    }
    store = "file"

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        folder: Path = self.fixture("tmp_path") / "files"
        folder.mkdir(exist_ok=True)
        return folder

    def path(self, key: str) -> str:
        return f"{self.folder}/{key}"

    def make(self) -> Any:
        return LocalFileSystem(skip_instance_cache=True)

    def stored(self, key: str) -> bytes | None:
        path = self.folder / key
        return path.read_bytes() if path.exists() else None

    def put_outside(self, key: str, data: bytes) -> None:
        (self.folder / key).write_bytes(data)

    def fail(self, client: Any) -> Any:
        return client.cat_file(str(self.folder))


class Memory(FileSystem):
    """Files in memory."""

    name = "fsspec memory"
    error_type = "conflict"
    inapplicable = {
        "reset in mid-body": NO_CONNECTION,
        "server killed": NO_SERVER,
        "cancelled": NEVER_BLOCKS,
        "retries": NO_RETRIES,
        "transactions of the server": NO_SERVER,
        "collected unclosed": "its files stay in the file system, which keeps them alive",
    }
    store = "memory"
    fs: Any = None

    def path(self, key: str) -> str:
        return f"/{key}"

    def make(self) -> Any:
        fs = make_memory()
        if self.fs is None:
            self.fs = fs
        fs.store, fs.pseudo_dirs = self.fs.store, self.fs.pseudo_dirs
        return fs

    def stored(self, key: str) -> bytes | None:
        file = self.fs.store.get(f"/{key}")
        return None if file is None else bytes(file.getbuffer())

    def fail(self, client: Any) -> Any:
        return client.pipe_file("/a", b"", mode="create")


class Zip(FileSystem):
    """An archive: it is read, or else it is written."""

    name = "fsspec zip"
    error_type = "other"
    inapplicable = {
        "reset in mid-body": NO_CONNECTION,
        "server killed": NO_SERVER,
        "cancelled": NEVER_BLOCKS,
        "retries": NO_RETRIES,
        "delete and list": "files in an archive cannot be deleted; it is listed by test_zip_archive_is_a_store",
        "transactions": "it has no transactions",
        "transactions of the server": NO_SERVER,
        "forked child": "its archive is one open file, whose position a child would share",
    }
    store = "zip"

    @property
    def archive(self) -> Path:
        """The archive."""
        path: Path = self.fixture("tmp_path") / "files.zip"
        if not path.exists():
            zipfile.ZipFile(path, "w").close()
        return path

    def make(self) -> Any:
        fs = ZipFileSystem(str(self.archive), skip_instance_cache=True)
        self._closing.callback(fs.close)
        return fs

    def make_writer(self) -> Any:
        return ZipFileSystem(str(self.archive), mode="a", skip_instance_cache=True)

    def flush(self, client: Any) -> None:
        client.close()

    def put_outside(self, key: str, data: bytes) -> None:
        with zipfile.ZipFile(self.archive, "a") as archive:
            archive.writestr(key, data)

    def stored(self, key: str) -> bytes | None:
        with zipfile.ZipFile(self.archive) as archive:
            return archive.read(key) if key in archive.namelist() else None

    def fail(self, client: Any) -> Any:
        return client.open("a", "wb")


class Http(FileSystem):
    """Files of a server of HTTP."""

    name = "fsspec http"
    error_type = "permission_denied"
    inapplicable = {
        "cancelled": "its server of the tests does not stall; s3fs, whose calls wait alike, does",
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
    inapplicable = {"transactions of the server": "S3 counts none"}
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
        return self.make_for(url), lambda client: self.put_big(client)

    def put_big(self, client: Any) -> Any:
        """Write to the bucket of the server that is killed."""
        return client.pipe_file("bucket/big", bytes(BIG))


class Cache(S3):
    """A layer over s3fs that keeps the values in files."""

    name = "fsspec simplecache"
    store = transaction_store = "simplecache"
    layer: Any = SimpleCacheFileSystem
    inapplicable = {
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
    inapplicable = {**Cache.inapplicable, "transactions": "fsspec writes its files at once, also in a transaction"}
    layer: Any = WholeFileCacheFileSystem


class Directory(Local):
    """A layer over local files."""

    name = "fsspec dir"
    store = "dir"
    inapplicable = {
        **Local.inapplicable,
        "transactions": "its transactions are those of the file system below",
    }

    def path(self, key: str) -> str:
        return key

    def make(self) -> Any:
        return DirFileSystem(str(self.folder), LocalFileSystem(skip_instance_cache=True), skip_instance_cache=True)

    def fail(self, client: Any) -> Any:
        return client.cat_file("")


class AsyncFileSystem(AsyncCase, FileSystem):
    """A file system that is used with `await`."""

    def put(self, client: Any, key: str, data: bytes) -> Any:
        return client._pipe_file(self.path(key), data)

    def get(self, client: Any, key: str) -> Any:
        return client._cat_file(self.path(key))

    def delete(self, client: Any, key: str) -> Any:
        return client._rm_file(self.path(key))

    def keys(self, client: Any) -> Any:
        return client._ls(self.path("").rstrip("/"), detail=False)

    async def begin(self, client: Any, key: str) -> Any:
        file = await client.open_async(self.path(key))
        assert await file.read(2) == DATA[:2]
        return file


class AsyncLocal(AsyncFileSystem, Local):
    """Local files in threads."""

    name = "fsspec local async"
    store = "asyncwrapper"
    inapplicable = {
        **{point: reason for point, reason in Local.inapplicable.items() if point != "cancelled"},
        "transactions": SYNC_TRANSACTIONS,
        "early close": "it opens no files",
        "collected unclosed": "it opens no files",
    }

    def make(self) -> Any:
        return AsyncFileSystemWrapper(LocalFileSystem(skip_instance_cache=True), asynchronous=True)

    def fail(self, client: Any) -> Any:
        return client._cat_file(str(self.folder))

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        return lambda: self.get(client, "a"), lambda: True  # it waits for its thread


class AsyncS3(AsyncFileSystem, S3):
    """s3fs in the loop of the caller."""

    name = "fsspec s3fs async"
    asynchronous = True
    inapplicable = {**S3.inapplicable, "transactions": SYNC_TRANSACTIONS}

    def make_for(self, url: str, key: str = KEY) -> Any:
        fs = super().make_for(url, key)
        self._closing.callback(self._close, self.call(fs.set_session), os.getpid())
        return fs

    def _close(self, session: Any, process: int) -> None:
        if process == os.getpid():
            self.call(session.close)

    def in_child(self, client: Any) -> Any:
        self.runner = asyncio.Runner()
        return super().in_child(client)

    def fail(self, client: Any) -> Any:
        return self.get(client, "a")

    def put_big(self, client: Any) -> Any:
        return client._pipe_file("bucket/big", bytes(BIG))


FILE_SYSTEMS: list[type[Case]] = [Local, Memory, Zip, Http, S3, Cache, FileCache, Directory, AsyncLocal, AsyncS3]
