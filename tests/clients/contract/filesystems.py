"""The cases of fsspec's file systems without a server."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import s3fs
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.zip import ZipFileSystem

from encore_events.testing import EventRecorder
from tests.clients.contract.cases import DATA, AsyncCase, Case
from tests.clients.fsspec_support import make as make_memory

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


class Local(FileSystem):
    """Local files."""

    name = "fsspec local"
    error_type = "conflict"
    inapplicable: ClassVar[Mapping[str, str]] = {
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
    inapplicable: ClassVar[Mapping[str, str]] = {
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
    is_read_only = True
    error_type = "other"
    inapplicable: ClassVar[Mapping[str, str]] = {
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


class Directory(Local):
    """A layer over local files."""

    name = "fsspec dir"
    store = "dir"
    inapplicable: ClassVar[Mapping[str, str]] = {
        **Local.inapplicable,
        "transactions": "its transactions are those of the file system below",
    }

    def path(self, key: str) -> str:
        return key

    def make(self) -> Any:
        return DirFileSystem(str(self.folder), LocalFileSystem(skip_instance_cache=True), skip_instance_cache=True)

    def fail(self, client: Any) -> Any:
        return client.cat_file("")


class AsyncLocal(AsyncFileSystem, Local):
    """Local files in threads."""

    name = "fsspec local async"
    store = "asyncwrapper"
    inapplicable: ClassVar[Mapping[str, str]] = {
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


LOCAL: list[type[Case]] = [Local, Memory, Zip, Directory, AsyncLocal]
