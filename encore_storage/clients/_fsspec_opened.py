"""One opening of a file of fsspec: its operation, and what it has moved and fetched."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from encore_events import forks
from encore_storage.clients._fsspec_methods import size_of
from encore_storage.clients._fsspec_stores import stand_in_of, state_of
from encore_storage.clients._fsspec_transactions import emit_change, open_transactions, transaction_of
from encore_storage.clients.client import Options
from encore_storage.observing import Operation, StoreObserver
from encore_storage.observing.operation import enclosing_operations

_FILL = frozenset({"readinto", "readinto1"})


class Opened:
    """One opening of a file: its operation, and what it has moved.

    Attributes:
        moved: the bytes that the caller has read or written.
        text: the id of the text file around the file, if that was opened.

    Args:
        fs: the file system.
        observer: the observer of its store.
        operation: the operation, which has started.
        options: the options of `observe()`.
        mode: the mode of the file.
        key: the path.
    """

    __slots__ = (
        *("fs", "operation", "reads", "moved", "text", "_observer", "_options"),
        *("_mode", "_key", "_fetched", "_position", "_uploads", "_is_deferred"),
    )

    def __init__(
        self, fs: object, observer: StoreObserver, operation: Operation, options: Options, mode: str, key: str | None
    ) -> None:
        self.fs = fs
        self.operation = operation
        self.reads = "r" in mode and "+" not in mode
        self.moved = 0
        self.text: int | None = None
        self._observer = observer
        self._options = options
        self._mode = mode
        self._key = key
        self._fetched: list[int] | None = None
        self._position: int | None = None
        self._uploads = False
        self._is_deferred = False

    def stand_in(self, file: Any) -> Any:
        """Return a stand-in for a file that cannot be observed in place."""
        observe = self._observer.reading if self.reads else self._observer.writing
        return observe(self._key, file, operation=self.operation)

    def attach(self, state: dict[str, Any]) -> None:
        """Prepare for a file that was opened just now, with these attributes."""
        if not self.reads:
            handle = state.get("fh")
            self._position = None if handle is None else handle.tell()
            self._uploads = "buffer" in state
            if open_transactions and "r" not in self._mode and not state.get("autocommit"):
                self._defer()
            return
        size, cache = state.get("size"), state.get("cache")
        if size.__class__ is int:
            self.operation.steps = size
        if cache is not None:
            self._fetched = []  # appending is atomic: a cache may fetch in threads
            if type(cache).__name__ == "AllBytes":  # which has fetched already
                self._fetched.append(size_of(cache.data))
            for name in ("fetcher", "multi_fetcher"):
                if (fetch := getattr(cache, name, None)) is not None:
                    setattr(cache, name, self._counting(fetch, self._fetched))

    def count(self, size: int, file: Any) -> None:
        """Count bytes that the caller has read or written."""
        moved = self.moved = self.moved + size
        if moved == size and size:
            self.operation.measure_first_byte()
        if self._uploads:
            moved = min(moved, state_of(file).get("offset") or 0)  # the store has not got the rest yet
        self.operation(step=moved)

    def count_handle(self, file: Any) -> None:
        """Count what was written to the file's inner handle, which it returns for a `with` block."""
        handle: Any = state_of(file).get("fh")
        if self._position is not None and not handle.closed:
            self.moved = max(self.moved, handle.tell() - self._position)

    def count_fetched(self, size: int) -> None:
        """Count bytes that the file's cache has fetched."""
        if self._fetched is not None:
            self._fetched.append(size)

    def finish(self, error: BaseException | None = None, *, is_closed: bool = True, is_committed: bool = True) -> None:
        """End the operation; if the file was closed, the store has all bytes, and the key has changed."""
        operation = self.operation
        if operation.is_over or operation.process is not forks.current:
            return
        if self._fetched:
            operation.fetched = sum(self._fetched)
        if is_closed:
            operation.count_to(self.moved)
        operation.target = None
        operation.finish(None if error is None else stand_in_of(error, self._options))
        if self.reads or self._is_deferred or not is_closed or self._key is None:
            return
        if "r" in self._mode and not self.moved:
            return
        if is_committed or transaction_of(self.fs) is not None:
            emit_change(self.fs, self._observer, ("set", self._key))

    def _defer(self) -> None:
        """Have the commit of the transaction change the key, which may precede the close of the file."""
        transaction = transaction_of(self.fs)
        if transaction is not None and self._key is not None:
            transaction.add(self._observer, ("set", self._key), is_deferred=True)
            self._is_deferred = True

    def _counting(self, fetch: Callable[..., Any], fetched: list[int]) -> Callable[..., Any]:
        @functools.wraps(fetch)
        def counting(*args: Any, **kwargs: Any) -> Any:
            with within((self,)):  # caches fetch in threads, too, which have no context
                data = fetch(*args, **kwargs)
            fetched.extend(map(size_of, data if isinstance(data, list) else [data]))
            return data

        return counting


class within:  # noqa: N801 (used like a function)
    """A block in which the file systems of the openings do nothing but serve them."""

    __slots__ = ("_opened", "_token")

    def __init__(self, opened: tuple[Opened, ...]) -> None:
        self._opened = opened

    def __enter__(self) -> None:
        operations = tuple(weakref.ref(one.operation) for one in self._opened)
        self._token = enclosing_operations.set((*operations, *enclosing_operations.get()))

    def __exit__(self, *exc_info: object) -> None:
        enclosing_operations.reset(self._token)


class Lines:
    """The argument of `writelines`, and the size of what was taken of it."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines
        self.size = 0

    def __iter__(self) -> Iterator[Any]:
        for line in self._lines:
            yield line
            self.size += size_of(line)


def moved_by(name: str, args: tuple[Any, ...], result: Any) -> int:
    """Return the number of bytes that a call has moved."""
    if name == "writelines":
        return int(args[0].size)
    if name == "write" and not isinstance(result, int):
        result = args[0] if args else None
    elif name in _FILL or name == "write":
        return int(result or 0)
    return sum(map(size_of, result)) if isinstance(result, list) else size_of(result)
