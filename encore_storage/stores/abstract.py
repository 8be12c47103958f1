"""The abstract store: every public method, written once over the core and observed.

One call is one operation: one start, any number of steps, and one end, whatever happens.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeGuard, TypeVar

from encore_storage.errors import KeyNotFoundError
from encore_storage.events import Operation
from encore_storage.metadata import GivenMetadata, Metadata, checked_names, copied_metadata, selected
from encore_storage.observing import ObservedIterator, ObservedReader
from encore_storage.observing import Operation as ObservedOperation
from encore_storage.observing.finalizing import close_items
from encore_storage.observing.streams import count_written
from encore_storage.stores.changing import ChangingOperation
from encore_storage.stores.core import StoreCore
from encore_storage.stores.fingerprints import CopiedData
from encore_storage.stores.local_files import AnyPath, opened, replacing, size_of
from encore_storage.streams import MEBIBYTE, Readable, buffer_iterator
from encore_storage.transactions.contexts import DummyTransactionContext, SimpleTransactionContext, TransactionEntry
from encore_storage.transactions.writing import Change
from encore_storage.value import Entry, ListedKey, StoredValue, Value, checked_range

T = TypeVar("T")
AnyValue = Value | tuple[Readable, Metadata]

_STEPS = ("_begin_transaction", "_commit_transaction", "_rollback_transaction")
_NOTHING: Any = object()


class AbstractStore(StoreCore):
    """A key-value store: str keys, bytes as values, JSON as metadata.

    It is usable as made; `connect()` is for use after `disconnect()`. It is a context manager.

    Args:
        name: the name in events, logs and metrics; by default, the backend's.
        event_manager: where to emit; by default, `get_event_manager()`.
        timeout: the seconds that a thread waits for another thread's transaction; None for no limit.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError for a transactional class that lacks a step of its transactions."""
        super().__init_subclass__(**options)
        missing = [step for step in _STEPS if not hasattr(cls, step)]
        if missing and cls.transactional is True and cls.transaction is AbstractStore.transaction:
            raise TypeError(
                f"transactional store class {cls.__name__!r} lacks {', '.join(missing)}: "
                "implement all three steps, or override transaction()"
            )

    def info(self) -> dict[str, Any]:
        """Return the name, backend, transactional and readonly of the store."""
        return {"name": self.name, "backend": self.backend, "transactional": self.transactional, "readonly": False}

    def transaction(self, notes: str | None = None) -> TransactionEntry | DummyTransactionContext:
        """Return a block whose changes are kept as a whole or not at all, if the store is transactional."""
        self._check_connected()
        return SimpleTransactionContext(self, notes).entry() if self.transactional else DummyTransactionContext(self)

    def get(self, key: str) -> StoredValue:
        """Return the value; its bytes are read on use. Raises KeyNotFoundError."""
        with self._operation("get_metadata", key):
            entry = self._found(key)
        metadata = copied_metadata(entry.metadata)

        def opener(start: int | None, end: int | None) -> ObservedReader:
            return self._read("get" if start is None else "get_range", key, entry, start, end)

        return StoredValue(entry, metadata, opener)

    def get_data(self, key: str) -> ObservedReader:
        """Return the bytes as a file, to be closed. Raises KeyNotFoundError."""
        return self._read("get", key, None, None, None)

    def get_data_range(self, key: str, start: int | None = None, end: int | None = None) -> ObservedReader:
        """Return the bytes from `start` up to but not including `end` as a file; `end` may lie past the last byte.

        Raises:
            KeyNotFoundError: there is no value.
            ValueError: start or end is negative.
        """
        return self._read("get_range", key, None, start, end)

    def get_metadata(self, key: str, select: Iterable[str] | None = None) -> Metadata:
        """Return a copy of the metadata; with `select`, only the items with these names. Raises KeyNotFoundError."""
        with self._operation("get_metadata", key):
            return copied_metadata(selected(self._found(key).metadata, checked_names(select)))

    def exists(self, key: str) -> bool:
        """Return whether there is a value under the key."""
        with self._operation("exists", key):
            try:
                self._found(key)
            except KeyNotFoundError:
                return False
            return True

    def set(self, key: str, value: AnyValue, buffer_size: int = MEBIBYTE) -> None:
        """Store a value, a `Value` or a pair `(file, metadata)`, reading `buffer_size` bytes at a time.

        If the source fails, the existing value stays. A file that the caller has opened stays open.

        Raises:
            TypeError: the value is neither, its metadata is not JSON, or its file returns no bytes.
        """
        size, metadata = _size_and_metadata_of(value)
        given = GivenMetadata(metadata)
        with self._setting(key, size, given.copy) as setting, _opened_source(value) as data:
            self._write(setting, key, data, given.checked(), buffer_size)

    def set_data(self, key: str, data: Readable, buffer_size: int = MEBIBYTE) -> None:
        """Replace the bytes by those of a file, and keep the metadata."""
        with self._setting(key, None, None) as setting:
            self._write(setting, key, data, None, buffer_size)

    def set_metadata(self, key: str, metadata: Metadata) -> None:
        """Replace the metadata, and keep the bytes; a new key has none."""
        given = GivenMetadata(metadata)
        with self._changing(self._operation("set_metadata", key, metadata=given.copy), key) as setting:
            self._check(key)
            setting.done(self._put(key, None, given.checked()))

    def update_metadata(self, key: str, metadata: Metadata) -> None:
        """Replace the given items of the metadata, and keep the others. Raises KeyNotFoundError."""
        given = GivenMetadata(metadata)
        with self._changing(self._operation("update_metadata", key, metadata=given.copy), key) as setting:
            self._check(key)
            update = given.checked()
            with self._writing():
                setting.done(self._put(key, None, {**self._entry(key).metadata, **update}))

    def delete(self, key: str) -> None:
        """Delete the value. Raises KeyNotFoundError."""
        with self._changing(self._operation("delete", key), key, is_delete=True) as deleting:
            self._check(key)
            deleting.done(Change(is_new=False, metadata=self._remove(key)))

    def multiget(self, keys: Iterable[str]) -> Iterator[StoredValue]:
        """Yield the values of several keys. Raises KeyNotFoundError at the first missing one."""
        with self._failing_as("get_metadata"):
            return (self.get(key) for key in keys)

    def multiget_data(self, keys: Iterable[str]) -> Iterator[ObservedReader]:
        """Yield the bytes of several keys, as files. Raises KeyNotFoundError at the first missing one."""
        with self._failing_as("get"):
            return (self.get_data(key) for key in keys)

    def multiget_metadata(self, keys: Iterable[str], select: Iterable[str] | None = None) -> Iterator[Metadata]:
        """Yield the metadata of several keys. Raises KeyNotFoundError at the first missing one."""
        with self._failing_as("get_metadata"):
            names = checked_names(select)
            return (self.get_metadata(key, names) for key in keys)

    def multiset(self, keys: Iterable[str], values: Iterable[AnyValue], buffer_size: int = MEBIBYTE) -> None:
        """Store several values, in one transaction if the store is transactional."""
        self._put_each("multiset", "set", lambda key, value: self.set(key, value, buffer_size), keys, values)

    def multiset_data(self, keys: Iterable[str], datas: Iterable[Readable], buffer_size: int = MEBIBYTE) -> None:
        """Replace the bytes of several keys, in one transaction if the store is transactional."""
        self._put_each("multiset_data", "set", lambda key, data: self.set_data(key, data, buffer_size), keys, datas)

    def multiset_metadata(self, keys: Iterable[str], metadatas: Iterable[Metadata]) -> None:
        """Replace the metadata of several keys, in one transaction if the store is transactional."""
        self._put_each("multiset_metadata", "set_metadata", self.set_metadata, keys, metadatas)

    def multiupdate_metadata(self, keys: Iterable[str], metadatas: Iterable[Metadata]) -> None:
        """Update the metadata of several keys, in one transaction if the store is transactional."""
        self._put_each("multiupdate_metadata", "update_metadata", self.update_metadata, keys, metadatas)

    def query(self, /, select: Iterable[str] | None = None, **metadata: Any) -> ObservedIterator[tuple[str, Metadata]]:
        """Return the keys with their metadata where it has all of the given items; by default, all keys.

        With `select`, the metadata has only the items with these names.
        """
        return self._query(lambda: _matching(self._items(), metadata, checked_names(select)))

    def query_keys(self, /, **metadata: Any) -> ObservedIterator[str]:
        """Return the keys whose metadata has all of the given items; by default, all keys.

        They are the keys as of the first `next`, each once: the iterator keeps them in memory.
        """
        if not metadata:
            return self._query(lambda: _once(self._keys))
        return self._query(lambda: _once(lambda: (key for key, _ in _matching(self._items(), metadata, ()))))

    def glob(self, pattern: str) -> ObservedIterator[str]:
        """Return the keys that match a case-sensitive shell pattern; `*` matches `/` as well.

        They are the keys as of the first `next`, each once.
        """

        def scan() -> Iterator[str]:
            if not isinstance(pattern, str):
                raise TypeError(f"the pattern of glob() must be a str, not {pattern!r}")
            return _once(lambda: (key for key in self._keys() if fnmatch.fnmatchcase(key, pattern)))

        return self._query(scan)

    def list(self, prefix: str = "") -> ObservedIterator[ListedKey]:
        """Return the keys that begin with `prefix`, each with its size and times: `(key, size, created, modified)`."""

        def scan() -> Iterator[ListedKey]:
            if not isinstance(prefix, str):
                raise TypeError(f"the prefix of list() must be a str, not {prefix!r}")
            return self._listing(prefix)

        return self._query(scan, "list")

    def to_bytes(self, key: str, buffer_size: int = MEBIBYTE) -> bytes:
        """Return the bytes of a value, read `buffer_size` at a time. Raises KeyNotFoundError."""
        with self.get_data(key) as data:
            return b"".join(buffer_iterator(data, buffer_size))

    def to_file(self, key: str, path: AnyPath, buffer_size: int = MEBIBYTE) -> None:
        """Write the bytes of a value to a file, which is replaced after the last byte.

        The file keeps its permissions and symbolic links to it. Pipes and devices are written to, and never replaced.

        Raises:
            KeyNotFoundError: there is no value; the file stays as it was.
            OpenDatabaseError: the file is a database that a SqliteStore of this process has open.
        """
        with self.get_data(key) as data:
            try:
                with replacing(path) as write:
                    for chunk in buffer_iterator(data, buffer_size):
                        write(chunk)
            except BaseException as error:
                data.fail(error)
                raise

    def from_bytes(self, key: str, data: bytes, metadata: Metadata | None = None, buffer_size: int = MEBIBYTE) -> None:
        """Replace the bytes of a value by `data`, and the metadata by `metadata`; without it, keep the metadata."""
        given = None if metadata is None else GivenMetadata(metadata)
        with self._setting(key, _length_of(data), None if given is None else given.copy) as setting:
            file = io.BytesIO(_view_of(data))
            self._write(setting, key, file, None if given is None else given.checked(), buffer_size)

    def from_file(self, key: str, path: AnyPath, buffer_size: int = MEBIBYTE) -> None:
        """Replace the bytes by those of a file, and keep the metadata. Raises OpenDatabaseError as `to_file` does."""
        with self._setting(key, size_of(path), None) as setting, opened(path) as file:
            self._write(setting, key, file, None, buffer_size)

    @contextlib.contextmanager
    def _failing_as(self, name: Operation) -> Iterator[None]:
        """Observe an error of the block, raised before the first of several keys, as that of an operation."""
        try:
            yield
        except Exception as error:
            operation = self._operation(name, None)
            operation.start()
            operation.finish_unless_forked(error)
            raise

    def _put_each(
        self, notes: str, name: Operation, put: Callable[[str, T], object], keys: Iterable[str], items: Iterable[T]
    ) -> None:
        with self._failing_as(name):
            if isinstance(keys, Sized) and isinstance(items, Sized) and len(keys) != len(items):
                raise ValueError(f"{notes}() takes one item per key, but got {len(keys)} keys and {len(items)} items")
            pairs = itertools.zip_longest(keys, items, fillvalue=_NOTHING)
            transaction = self.transaction(notes)
        with transaction:
            for key, item in pairs:
                if key is _NOTHING or item is _NOTHING:
                    raise ValueError(
                        f"{notes}() takes one item per key, but got fewer {'keys' if key is _NOTHING else 'items'}"
                    )
                put(key, item)

    def _write(
        self, setting: ChangingOperation, key: str, data: Readable, metadata: Metadata | None, buffer_size: int
    ) -> None:
        self._check(key)
        chunks = count_written(buffer_iterator(data, buffer_size), setting.operation)
        if isinstance(data, CopiedData):
            setting.done(self._put_copy(key, chunks, metadata, lambda: data.fingerprint))
        else:
            setting.done(self._put(key, chunks, metadata))

    def _read(
        self, name: Operation, key: str, entry: Entry | None, start: int | None, end: int | None
    ) -> ObservedReader:
        metadata = None if entry is None else entry.metadata

        def start_operation() -> ObservedOperation:
            operation = self._operation(name, key, direction="read", metadata=metadata)
            operation.start()
            return operation

        operation = start_operation()
        try:
            first, last = checked_range(start, end)
            if entry is None:
                entry = self._found(key)
            else:
                self._check(key)
            first = min(first, entry.size)
            last = entry.size if last is None else max(first, min(last, entry.size))
            operation.steps = last - first
            return ObservedReader(self._open(key, entry, first, last), operation, start_operation)
        except BaseException as error:
            operation.finish_unless_forked(error)
            raise

    def _query(self, scan: Callable[[], Iterator[T]], name: Operation = "query") -> ObservedIterator[T]:
        operation = self._operation(name, None)
        operation.start()
        try:
            self._check_connected()
            return ObservedIterator(scan(), operation)
        except BaseException as error:
            operation.finish_unless_forked(error)
            raise

    def _setting(self, key: str, size: int | None, metadata: Metadata | None) -> ChangingOperation:
        steps = -1 if size is None else size
        return self._changing(self._operation("set", key, direction="write", steps=steps, metadata=metadata), key)


def _size_and_metadata_of(value: object) -> tuple[int | None, Metadata | None]:
    """Return the size and metadata of the argument of `set`; `_opened_source` refuses what is not a value."""
    if isinstance(value, Value):
        return value.size, value.metadata
    return None, value[1] if _is_pair(value) else None


@contextlib.contextmanager
def _opened_source(value: object) -> Iterator[Readable]:
    """Return the file of the argument of `set`, closed after the block if it is opened here."""
    if _is_pair(value):
        yield value[0]
    elif not isinstance(value, Value):
        kind = type(value).__name__
        raise TypeError(f"a value must be a Value or a pair (file, metadata), not {kind}: use from_bytes() for bytes")
    elif value.is_open:
        yield value.data
    else:
        with value:
            yield value.data


def _length_of(data: bytes) -> int | None:
    """Return the number of bytes, or None if it is not bytes, which `_view_of` refuses."""
    try:
        return memoryview(data).nbytes
    except TypeError:
        return None


def _view_of(data: Any) -> memoryview:
    try:
        return memoryview(data)
    except TypeError:
        raise TypeError(f"from_bytes() takes bytes, not {type(data).__name__}: {_advice_for(data)}") from None


def _advice_for(data: object) -> str:
    """Return what to do instead of passing `data` to `from_bytes`."""
    if isinstance(data, str):
        return "encode it first, as in text.encode()"
    if hasattr(data, "read"):
        return "use set_data() for a file"
    if isinstance(data, os.PathLike):
        return "use from_file() for a path"
    return "convert it first, as in json.dumps(data).encode()"


def _is_pair(value: object) -> TypeGuard[tuple[Readable, Metadata]]:
    return isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 (a pair)


def _once(keys: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield each of the keys once, as of the first `next`."""
    iterator = keys()
    try:
        found = dict.fromkeys(iterator)
    finally:
        close_items(iterator)
    yield from found


def _matching(
    items: Iterable[tuple[str, Metadata]], wanted: Mapping[str, Any], select: Iterable[str] | None
) -> Iterator[tuple[str, Metadata]]:
    for key, metadata in items:
        if all(name in metadata and metadata[name] == value for name, value in wanted.items()):
            yield key, copied_metadata(selected(metadata, select))
