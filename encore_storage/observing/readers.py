"""What is read from a store, observed to its end: a stream of bytes, or an iteration over keys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from encore_events import forks
from encore_storage.observing.operation import Ending, close_items
from encore_storage.observing.progress import StoreProgress
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

    _finalizing = False  # set by Python when it closes a stream that was collected

    def __init__(self, chunks: Iterator[ReadableBuffer], progress: StoreProgress | Ending) -> None:
        """Make the file of `chunks`; the operation has been started."""
        super().__init__(chunks)
        self._end = end = progress if isinstance(progress, Ending) else Ending(progress).take_over()
        self._progress = end.progress
        self._total = 0
        end.items = self._iterator

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
        if self._finalizing:
            return  # its ending is collected, too, and has another thread do that
        if not self.closed:
            self._end.tell_of(super().close)
        elif not self._end.is_told:
            self._end.tell()  # an interrupt has kept the first close from it

    def _observed(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        if self._end.process is not forks.current:
            raise self._end.forked()
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


class ObservedIterator(Iterator[T], Generic[T]):
    """The results of a query, and the end of the operation with the last of them or the close.

    One that is collected before either is told as cancelled, from another thread. It is a context manager.
    """

    def __init__(self, items: Iterable[T], progress: StoreProgress | Ending) -> None:
        """Make the iterator over `items`; the operation has been started."""
        self._items = iter(items)
        self._end = end = progress if isinstance(progress, Ending) else Ending(progress).take_over()
        end.items = self._items

    def __iter__(self) -> Self:
        """Give itself."""
        return self

    def __next__(self) -> T:
        """The next result."""
        if self._end.is_told:
            raise StopIteration
        if self._end.process is not forks.current:
            raise self._end.forked()
        try:
            return next(self._items)
        except StopIteration:
            self._end.tell()
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
        self._end.tell_of(lambda: close_items(self._items))


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
