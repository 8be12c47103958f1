"""What is read from a store, observed to its end: a stream of bytes, or an iteration over keys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from encore_events import forks
from encore_storage.collected import do_elsewhere
from encore_storage.errors import ForkedStoreError, cut_off
from encore_storage.progress import StoreProgress
from encore_storage.streams import BufferIteratorIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")


class ObservedReader(BufferIteratorIO):
    """A value's bytes as a file, and the end of the operation as soon as they have come to theirs.

    The operation ends with the read that finds no more bytes, with the close, or with an error of the
    store, whichever comes first. A stream that is collected unclosed is told as cancelled, from another
    thread.
    """

    def __init__(self, chunks: Iterator[ReadableBuffer], progress: StoreProgress) -> None:
        """Make the file of `chunks`; `progress` has been started."""
        super().__init__(chunks)
        self._progress = progress
        self._end = _End(progress)
        self._total = 0
        self.__class__ = OpenReader

    def read(self, buffer_size: int | None = -1) -> bytes:
        """The next `buffer_size` bytes, fewer only at the end; by default all that are left."""
        wanted = buffer_size if buffer_size is not None and buffer_size >= 0 else None
        data = self._observed(super().read, buffer_size)
        if wanted is None or len(data) < wanted:
            self._end.tell()
        return data

    def read1(self, size: int | None = -1, /) -> bytes:
        """The next bytes that are at hand, at most `size`."""
        return self._ended_by_nothing(self._observed(super().read1, size), size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, at most `size` bytes of it."""
        return self._ended_by_nothing(self._observed(super().readline, size), size)

    def close(self) -> None:
        """Close the stream; the operation is over with the bytes that were read."""
        if not self.closed:
            self._end.tell_of(super().close)
        elif not self._end.is_told:
            self._end.tell()  # an interrupt has kept the first close from it
        self.__class__ = ObservedReader

    def _observed(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        self._end.check_process()
        try:
            data = read(size)
        except BaseException as error:
            if not self.closed:
                self._end.tell(error)
            raise
        if data and not self._end.is_told:
            self._total += len(data)
            self._progress(step=self._total)
        return data

    def _ended_by_nothing(self, data: bytes, size: int | None) -> bytes:
        if not data and size != 0:
            self._end.tell()
        return data


class OpenReader(ObservedReader):
    """A stream that was not closed.

    An interrupt that arrives in a finalizer is lost. So only what was not closed has one: what was becomes its base class.
    """

    def __del__(self) -> None:
        """Have a stream that was never closed told as cancelled, elsewhere."""
        if hasattr(self, "_end"):
            self._end.tell_elsewhere(self._iterator)


class ObservedIterator(Iterator[T], Generic[T]):
    """The results of a query, and the end of the operation with the last of them or the close.

    One that is collected before either is told as cancelled, from another thread. It is a context manager.
    """

    def __init__(self, items: Iterable[T], progress: StoreProgress) -> None:
        """Make the iterator over `items`; `progress` has been started."""
        self._items = iter(items)
        self._end = _End(progress)
        self.__class__ = OpenIterator

    def __iter__(self) -> Self:
        """Give itself."""
        return self

    def __next__(self) -> T:
        """The next result."""
        if self._end.is_told:
            raise StopIteration
        self._end.check_process()
        try:
            return next(self._items)
        except StopIteration:
            self._end.tell()
            self.__class__ = ObservedIterator
            raise
        except BaseException as error:
            self._end.tell(error)
            raise

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Want no more results."""
        self._end.tell_of(lambda: _close(self._items))
        self.__class__ = ObservedIterator


class OpenIterator(ObservedIterator[T]):
    """A query that is not over; see `OpenReader`."""

    def __del__(self) -> None:
        """Have a query that was left in the middle told as cancelled, elsewhere."""
        if hasattr(self, "_end"):
            self._end.tell_elsewhere(self._items)


def counted(chunks: Iterable[bytes], progress: StoreProgress) -> Generator[bytes, None, None]:
    """The chunks for a store to write, each counted once the store has taken it.

    What is told of them lags one chunk behind, so that the last is told by the end of the operation alone.
    """
    total = 0
    for chunk in chunks:
        if total:
            progress(step=total)
        yield chunk
        total += len(chunk)
        progress.count(total)


class _End:
    """The end of an operation, emitted once, whoever comes first: a reader, another thread, a garbage collection."""

    __slots__ = ("_process", "_progress", "is_told")

    def __init__(self, progress: StoreProgress) -> None:
        self.is_told = False
        self._progress = progress
        self._process = forks.current

    def check_process(self) -> None:
        """Refuse to be read in a child of the process that has opened it. Raises ForkedStoreError."""
        if self._process is not forks.current:
            what = f"the stream or query {getattr(self._progress, 'message', '')!r}"
            raise ForkedStoreError(what, self._process.pid, "open another in the child")

    def tell(self, error: BaseException | None = None) -> None:
        """Emit it here and now."""
        if self._process is forks.current:
            self._progress.finish(error)
        self.is_told = True

    def tell_of(self, close: Callable[[], object]) -> None:
        """Close what was read, and emit how that went."""
        try:
            close()
        except BaseException as error:
            self.tell(error)
            raise
        self.tell()

    def tell_elsewhere(self, items: Iterator[object]) -> None:
        """Have `items` closed and the operation ended as cancelled, by another thread."""
        was_told, self.is_told = self.is_told, True  # what else the collection finds may close this stream yet
        if not was_told and self._process is forks.current:
            do_elsewhere(_abandoned(items, self._progress))


def _abandoned(items: Iterator[object], progress: StoreProgress) -> Callable[[], None]:
    def tell() -> None:
        try:
            _close(items)
        finally:
            progress.finish(cut_off())

    return tell


def _close(items: Iterator[object]) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
