"""Files and iterables of any origin, observed as they are read or written, sync or async."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from encore_events import forks
from encore_storage.events import Direction
from encore_storage.observing.progress import StoreProgressManager


class _Observed:
    """The part that all observed streams share: counting, and the end of the operation.

    Everything but what moves bytes is left to the stream itself.
    """

    def __init__(self, stream: Any, operation: StoreProgressManager, direction: Direction) -> None:
        self._stream = stream
        self._operation = operation
        self._reads = direction == "read"
        # A stream that can seek is read on from elsewhere when it is exhausted.
        self._ends_when_exhausted = self._reads and not _is_seekable(stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __repr__(self) -> str:
        return f"<observed {self._stream!r}>"

    def _check_process(self) -> None:
        if self._operation.process is not forks.current:
            raise self._operation.forked_error("the stream of")

    def _read(self, size: int, *, is_exhausted: bool) -> None:
        if self._reads and not self._operation.is_over:
            if size:
                self._operation.count(size)
            if is_exhausted and self._ends_when_exhausted:
                self._operation.finish_here()

    def _wrote(self, size: int) -> None:
        if not (self._reads or self._operation.is_over):
            self._operation.count(size)

    def _left(self, error: BaseException | None) -> None:
        """End the operation with the block of the stream, whose exception is an error of what was to be written."""
        if not self._operation.is_over:
            self._operation.finish_here(None if self._reads else error)

    def _size_of(self, data: Any) -> int:
        if data is None:  # from a file that does not block
            return 0
        if isinstance(data, str):
            return len(data.encode(getattr(self._stream, "encoding", None) or "utf-8", "surrogatepass"))
        return memoryview(data).nbytes

    def _result_of(self, data: Any, size: object) -> Any:
        is_exhausted = size in (None, -1) or (not data and size != 0)
        self._read(self._size_of(data), is_exhausted=is_exhausted)
        return data


class ObservedFile(_Observed):
    """A file of any origin, observed; made by `StoreObserver.reading` and `writing`."""

    def read(self, size: int | None = -1, /) -> Any:
        """Read as the file does."""
        return self._result_of(self._call(self._stream.read, *(() if size == -1 else (size,))), size)

    def read1(self, size: int = -1, /) -> Any:
        """Read as the file does."""
        data = self._call(self._stream.read1, size)
        self._read(self._size_of(data), is_exhausted=not data and size != 0)
        return data

    def readline(self, size: int | None = -1, /) -> Any:
        """Read as the file does."""
        data = self._call(self._stream.readline, *(() if size == -1 else (size,)))
        self._read(self._size_of(data), is_exhausted=not data and size != 0)
        return data

    def readlines(self, hint: int | None = -1, /) -> list[Any]:
        """Read as the file does."""
        lines: list[Any] = self._call(self._stream.readlines, hint)
        self._read(sum(map(self._size_of, lines)), is_exhausted=not lines or hint in (None, -1))
        return lines

    def readinto(self, buffer: Any, /) -> Any:
        """Read as the file does."""
        return self._filled(self._call(self._stream.readinto, buffer), buffer)

    def readinto1(self, buffer: Any, /) -> Any:
        """Read as the file does."""
        return self._filled(self._call(self._stream.readinto1, buffer), buffer)

    def write(self, data: Any, /) -> Any:
        """Write as the file does."""
        written = self._call(self._stream.write, data)
        self._wrote(written if isinstance(written, int) and not isinstance(data, str) else self._size_of(data))
        return written

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Write as the file does."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Close the file; the operation is over."""
        if self._operation.is_over:
            self._stream.close()
        else:
            self._operation.finish_closing(self._stream.close)

    def __iter__(self) -> Iterator[Any]:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next line or chunk."""
        try:
            data = self._call(next, self._stream)
        except StopIteration:
            self._read(0, is_exhausted=True)
            raise
        self._read(self._size_of(data), is_exhausted=False)
        return data

    def __enter__(self) -> Self:
        """Enter the file's own block."""
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        """Leave the file's own block; the operation is over."""
        result = self._call(self._stream.__exit__, kind, error, traceback)
        self._left(error)
        return result

    def _filled(self, count: Any, buffer: Any) -> Any:
        self._read(count or 0, is_exhausted=count == 0 and memoryview(buffer).nbytes > 0)
        return count

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self._check_process()
        try:
            return method(*arguments)
        except StopIteration:
            raise
        except BaseException as error:
            self._operation.finish_here(error)
            raise


class ObservedChunks(ObservedFile):
    """An iterable of bytes, observed; made by `StoreObserver.reading`."""

    def __init__(self, chunks: Iterable[Any], operation: StoreProgressManager, direction: Direction) -> None:
        """Make the iterator of the chunks."""
        super().__init__(iter(chunks), operation, direction)

    def close(self) -> None:
        """Close the iterator, if that can be done; the operation is over."""
        self._operation.finish_closing(getattr(self._stream, "close", lambda: None))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class AsyncObservedFile(_Observed):
    """An async file or iterable of bytes, observed; made by `StoreObserver.reading` and `writing`."""

    async def read(self, size: int | None = -1, /) -> Any:
        """Read as the file does."""
        return self._result_of(await self._call(self._stream.read, *(() if size == -1 else (size,))), size)

    async def readline(self, *arguments: Any) -> Any:
        """Read as the file does."""
        data = await self._call(self._stream.readline, *arguments)
        self._read(self._size_of(data), is_exhausted=not data and arguments != (0,))
        return data

    async def write(self, data: Any, /) -> Any:
        """Write as the file does."""
        written = await self._call(self._stream.write, data)
        self._wrote(written if isinstance(written, int) and not isinstance(data, str) else self._size_of(data))
        return written

    async def close(self) -> None:
        """Close the file; the operation is over."""
        await self._close("close")

    async def aclose(self) -> None:
        """Close the file or iterable, if that can be done; the operation is over."""
        await self._close("aclose")

    def __aiter__(self) -> Self:
        """Return itself."""
        if not hasattr(self._stream, "__anext__"):
            self._stream = aiter(self._stream)
        return self

    async def __anext__(self) -> Any:
        """Return the next line or chunk."""
        try:
            data = await self._call(self._stream.__anext__)
        except StopAsyncIteration:
            self._read(0, is_exhausted=True)
            raise
        self._read(self._size_of(data), is_exhausted=False)
        return data

    async def __aenter__(self) -> Self:
        """Enter the stream's own block, if it has one."""
        if hasattr(self._stream, "__aenter__"):
            await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        """Leave the stream's own block, or close it; the operation is over."""
        if not hasattr(self._stream, "__aexit__"):
            await self.aclose()
            return None
        result = await self._call(self._stream.__aexit__, kind, error, traceback)
        self._left(error)
        return result

    async def _close(self, name: str) -> None:
        close = getattr(self._stream, name, None)
        if close is not None:
            await self._call(close)
        if not self._operation.is_over:
            self._operation.finish_here()

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self._check_process()
        try:
            result = method(*arguments)
            return await result if isinstance(result, Awaitable) else result
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._operation.finish_here(error)
            raise


def observed_class_of(stream: object) -> Callable[[Any, StoreProgressManager, Direction], Any]:
    """Return the class that observes such a stream.

    Raises:
        TypeError: it is neither a file nor an iterable of bytes.
    """
    method = getattr(stream, "read", None) or getattr(stream, "write", None)
    if inspect.iscoroutinefunction(method) or isinstance(stream, AsyncIterable):
        return AsyncObservedFile
    if callable(method):
        return ObservedFile
    if isinstance(stream, Iterable) and not isinstance(stream, bytes | bytearray | memoryview | str):
        return ObservedChunks
    kind = type(stream).__name__
    raise TypeError(f"only a file or an iterable of bytes can be observed, not {kind}: wrap bytes in io.BytesIO")


def _is_seekable(stream: Any) -> bool:
    seekable = getattr(stream, "seekable", None)
    return callable(seekable) and not inspect.iscoroutinefunction(seekable) and bool(seekable())
