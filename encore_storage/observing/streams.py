"""The streams of a store, observed to their end: the bytes of a value, or an iteration over keys."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, NoReturn, Self, TypeVar

from encore_events import forks
from encore_events.errors import ProgressError
from encore_storage.errors import UnpicklableError
from encore_storage.observing.finalizing import close_items
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.streams import BufferIteratorIO, ChunkFile
from encore_storage.streams.chunk_file import is_question

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")


class ObservedReader(ChunkFile):
    """The bytes of a value as a file, which can seek if the chunks are `SeekableChunks`.

    The operation ends with the read that finds no more bytes, with the close, or with an error of the store, whichever
    comes first. If the stream is collected unclosed, another thread ends the operation as cancelled.

    After a seek, only the close, an error or the collection ends it, and the collection is ok. If it has ended before,
    the next bytes are read in another operation.

    Args:
        chunks: the bytes.
        operation: the operation, which has started.
        start_another: returns another such operation, which has started; without it, reads after the end of the
            operation are not observed.
    """

    _finalizing = False  # Python sets it when it closes a collected stream
    _has_sought = False

    def __init__(
        self,
        chunks: Iterator[ReadableBuffer],
        operation: StoreProgressManager,
        start_another: Callable[[], StoreProgressManager] | None = None,
    ) -> None:
        super().__init__(chunks)
        self._operation = operation
        self._start_another = start_another
        self._total = 0
        operation.adopt(self._iterator)

    def read(self, buffer_size: int | None = -1) -> bytes:
        """Return the next `buffer_size` bytes, fewer only at the end; by default all that are left."""
        wanted = sys.maxsize if buffer_size is None or buffer_size < 0 else buffer_size
        data = self._observed(BufferIteratorIO.read, buffer_size)
        if len(data) < wanted:
            self._end()
        return data

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return the next available bytes, at most `size`."""
        return self._end_if_empty(self._observed(BufferIteratorIO.read1, size), size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line, at most `size` bytes of it."""
        return self._end_if_empty(self._observed(BufferIteratorIO.readline, size), size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, and return it; see `ChunkFile.seek`."""
        self._check_process()
        position = super().seek(offset, whence)
        if not (self._has_sought or is_question(offset, whence)):
            self._has_sought = True
            self._leave_open(self._operation)
        return position

    def close(self) -> None:
        """Close the stream, and end the operation with the bytes that were read."""
        if self._finalizing:
            return  # the operation is collected as well, and its finalizer has another thread end it
        if not self.closed:
            self._operation.close_and_finish(super().close)
        elif not self._operation.is_over:
            self._operation.finish_unless_forked()  # an interrupt kept the first close from ending it

    def fail(self, error: BaseException) -> None:
        """End the operation with an error of what the bytes are for, unless it has ended."""
        self._operation.finish_unless_forked(error)

    def _observed(self, read: Callable[[BufferIteratorIO, int | None], bytes], size: int | None) -> bytes:
        operation = self._operation
        if operation.process is not forks.current:
            raise operation.forked_error("the stream or query")
        if self._has_sought and operation.is_over:
            operation = self._operation = self._another()
        try:
            data = read(self, size)
        except BaseException as error:
            if not self.closed:
                operation.finish_unless_forked(error)
            raise
        if data and not operation.is_over:
            self._total += len(data)
            try:  # noqa: SIM105 (a third of the time)
                operation(step=self._total)
            except ProgressError:  # another thread has just read the end
                pass
        return data

    def _check_process(self) -> None:
        if self._operation.process is not forks.current:
            raise self._operation.forked_error("the stream or query")

    def _another(self) -> StoreProgressManager:
        """Return another operation for the bytes that follow, or the one that has ended if there are none."""
        if self._start_another is None or self.closed or self._failure is not None or not self._has_more():
            return self._operation
        operation = self._start_another()
        operation.adopt(self._iterator)
        self._leave_open(operation)
        self._total = 0
        return operation

    def _leave_open(self, operation: StoreProgressManager) -> None:
        """Have the operation end with the close or the collection. Nobody knows how many bytes will be read."""
        operation.steps = -1
        operation.ends_ok_if_collected = True

    def _end_if_empty(self, data: bytes, size: int | None) -> bytes:
        if not data and size != 0:
            self._end()
        return data

    def _end(self) -> None:
        """End the operation after the last byte, unless the stream has been moved and may be again."""
        if not (self._has_sought or self._operation.is_over):
            self._operation.finish_unless_forked()


class ObservedIterator(Iterator[T], Generic[T]):
    """The results of a query, observed; a context manager.

    The operation ends with the last result or with the close. If the iterator is collected before that, another thread
    ends the operation as cancelled.

    Args:
        items: the results.
        operation: the operation, which has started.
    """

    def __init__(self, items: Iterable[T], operation: StoreProgressManager) -> None:
        self._items = iter(items)
        self._operation = operation
        operation.adopt(self._items)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        operation = self._operation
        if operation.is_over:
            raise StopIteration
        if operation.process is not forks.this_process():  # keys in memory would come in a child forked without hooks
            raise operation.forked_error("the stream or query")
        try:
            return next(self._items)
        except StopIteration:
            operation.finish_unless_forked()
            raise
        except BaseException as error:
            operation.finish_unless_forked(error)
            raise

    def __reduce__(self) -> NoReturn:
        raise UnpicklableError(object.__repr__(self), "it is an open query; pickle a list of its results")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the iteration, and end the operation."""
        self._operation.close_and_finish(lambda: close_items(self._items))


def count_written(chunks: Iterable[bytes], operation: StoreProgressManager) -> Generator[bytes, None, None]:
    """Yield the chunks for a store to write, and count each once the store has taken it.

    The step events lag one chunk behind, so that the end event alone reports the last chunk.
    """
    total = 0
    for chunk in chunks:
        if total:
            operation(step=total)
        yield chunk
        total += len(chunk)
        operation.count_to(total)
