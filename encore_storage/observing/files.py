"""Files and iterables of any origin, observed as they are read or written, sync or async."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

from encore_events import forks
from encore_events.errors import ProgressError
from encore_storage.events import Direction
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.streams import BufferIteratorIO

_READ_ALL = frozenset({"read", "readall", "readlines"})  # methods that read to the end if they get no size
_FILL = frozenset({"readinto", "readinto1"})

_OBSERVED = _READ_ALL | _FILL | {"read1", "readexactly", "readline", "readuntil", "write", "writelines", "close"}


class _ObservedStream:
    """The common part of observed streams: it has the methods of the stream, and counts the bytes that they move."""

    def __init__(self, stream: Any, operation: StoreProgressManager, direction: Direction) -> None:
        self._stream = stream
        self._operation = operation
        self._reads = direction == "read"
        self._ends_when_exhausted = self._reads and not _is_seekable(stream)  # one that can seek may be read again
        self._limits_reads = isinstance(stream, BufferIteratorIO)  # its default is a mebibyte
        self._iterator: Any = None

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of the stream; its methods for reading, writing and closing are observed."""
        if name == "_stream":  # in a copy that is being made
            raise AttributeError(name)
        attribute = getattr(self._stream, name)
        return partial(self._call, name, attribute) if name in _OBSERVED else attribute

    def __repr__(self) -> str:
        return f"<observed {self._stream!r}>"

    def _call(self, name: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if name != "close":
            self._check_process()
        if name == "read" and not (arguments or options) and self._limits_reads:
            arguments = (-1,)
        if name == "writelines":
            arguments = (map(self._count_line, *arguments),)
        argument = arguments[0] if arguments else next(iter(options.values()), -1)
        result = self._attempt(method, *arguments, **options)
        if hasattr(result, "__await__"):
            return self._awaited(name, result, argument)
        self._observe(name, result, argument)
        return result

    async def _awaited(self, name: str, awaitable: Awaitable[Any], argument: Any) -> Any:
        result = await self._attempt_async(awaitable)
        self._observe(name, result, argument)
        return result

    def _attempt(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the method of the stream; if it raises, end the operation with that."""
        try:
            return method(*arguments, **options)
        except StopIteration:
            raise
        except BlockingIOError as error:  # from a file that does not block: the program tries again
            self._count_written(getattr(error, "characters_written", 0))
            raise
        except BaseException as error:
            self._operation.finish_unless_forked(error)
            raise

    async def _attempt_async(self, awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._count_read(self._size_of(getattr(error, "partial", b"")), is_exhausted=False)  # IncompleteReadError
            self._operation.finish_unless_forked(error)
            raise

    def _observe(self, name: str, result: Any, argument: Any) -> None:
        """Count what a call has moved, or end the operation; `argument` is the first of the call."""
        if name == "close":
            self._operation.finish_unless_forked()
        elif name == "write":
            is_size = isinstance(result, int) and not isinstance(argument, str)
            self._count_written(result if is_size else self._size_of(argument))
        elif name in _FILL:
            self._count_read(result or 0, is_exhausted=result == 0 and self._size_of(argument) > 0)
        elif name != "writelines" and result is not None:  # None: a file that does not block has no bytes yet
            size = self._size_of(result)
            is_exhausted = name in _READ_ALL and argument in (None, -1)
            self._count_read(size, is_exhausted=is_exhausted or not (size or result or argument == 0))

    def _count_read(self, size: int, *, is_exhausted: bool) -> None:
        if self._reads and not self._operation.is_over:
            self._count(size)
            if is_exhausted and self._ends_when_exhausted:
                self._operation.finish_unless_forked()

    def _count_written(self, size: int) -> None:
        if not (self._reads or self._operation.is_over):
            self._count(size)

    def _count(self, size: int) -> None:
        try:  # noqa: SIM105 (a third of the time)
            self._operation.count(size)
        except ProgressError:  # another thread has just ended the operation
            pass

    def _count_line(self, line: Any) -> Any:
        self._count_written(self._size_of(line))
        return line

    def _size_of(self, data: Any) -> int:
        if isinstance(data, bytes):
            return len(data)
        try:
            if isinstance(data, str):
                return len(data.encode(getattr(self._stream, "encoding", None) or "utf-8", "replace"))
            return sum(map(self._size_of, data)) if isinstance(data, list) else memoryview(data).nbytes
        except (LookupError, TypeError):  # an unknown encoding, or an iterable of other objects than bytes
            return 0

    def _check_process(self) -> None:
        if self._operation.process is not forks.current:
            raise self._operation.forked_error("the stream of")

    def _close_method(self, *names: str) -> Callable[[], Any]:
        """Return the first of these methods that the stream or its iterator has."""
        methods = (getattr(owner, name, None) for owner in (self._stream, self._iterator) for name in names)
        return next(filter(None, methods), lambda: None)


class ObservedFile(_ObservedStream):
    """A file or iterable of bytes, observed; made by `StoreObserver.reading` and `writing`."""

    def close(self) -> Any:
        """Close the stream, if it can be closed, and end the operation."""
        result = self._attempt(self._close_method("close"))
        self._operation.finish_unless_forked()
        return result

    def __iter__(self) -> Iterator[Any]:
        self._iterator = None
        return self

    def __next__(self) -> Any:
        self._check_process()
        if self._iterator is None:
            self._iterator = self._attempt(iter, self._stream)
        try:
            data = self._attempt(next, self._iterator)
        except StopIteration:
            self._count_read(0, is_exhausted=True)
            raise
        self._count_read(self._size_of(data), is_exhausted=False)
        return data

    def __enter__(self) -> Self:
        """Enter the stream's own block, if it has one."""
        if hasattr(self._stream, "__enter__"):
            self._attempt(self._stream.__enter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        """Leave the stream's own block, or close it, and end the operation."""
        result = None
        if hasattr(self._stream, "__exit__"):
            result = self._attempt(self._stream.__exit__, kind, error, traceback)
        else:
            self._attempt(self._close_method("close"))
        self._operation.finish_unless_forked(None if self._reads else error)
        return result


class AsyncObservedFile(_ObservedStream):
    """An async file or iterable of bytes, observed; made by `StoreObserver.reading` and `writing`."""

    async def aclose(self) -> None:
        """Close the stream, if it can be closed, and end the operation."""
        await self._close()
        self._operation.finish_unless_forked()

    def __aiter__(self) -> Self:
        self._iterator = None
        return self

    async def __anext__(self) -> Any:
        self._check_process()
        if self._iterator is None:
            self._iterator = self._attempt(aiter, self._stream)
        try:
            data = await self._attempt_async(self._iterator.__anext__())
        except StopAsyncIteration:
            self._count_read(0, is_exhausted=True)
            raise
        self._count_read(self._size_of(data), is_exhausted=False)
        return data

    async def __aenter__(self) -> Self:
        """Enter the stream's own block, if it has one."""
        if hasattr(self._stream, "__aenter__"):
            await self._attempt_async(self._stream.__aenter__())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        """Leave the stream's own block, or close it, and end the operation."""
        result = None
        if hasattr(self._stream, "__aexit__"):
            result = await self._attempt_async(self._stream.__aexit__(kind, error, traceback))
        else:
            await self._close()
        self._operation.finish_unless_forked(None if self._reads else error)
        return result

    async def _close(self) -> None:
        result = self._attempt(self._close_method("aclose", "close"))
        if isinstance(result, Awaitable):
            await self._attempt_async(result)


def observed_class_of(stream: object, direction: Direction) -> type[ObservedFile | AsyncObservedFile]:
    """Return the class that observes such a stream.

    Raises:
        TypeError: the stream to write is not a file, or the stream to read neither a file nor an iterable of bytes.
    """
    read, write = getattr(stream, "read", None), getattr(stream, "write", None)
    is_iterable = isinstance(stream, Iterable) and not isinstance(stream, bytes | bytearray | memoryview | str)
    is_async = isinstance(stream, AsyncIterable)
    if direction == "write" and not callable(write):
        raise TypeError(f"cannot observe the writing of {type(stream).__name__!r}: pass a file")
    if direction == "read" and not (callable(read) or is_iterable or is_async):
        raise TypeError(
            f"cannot observe the reading of {type(stream).__name__!r}: pass a file or an iterable of bytes; "
            "for a path, open(path, 'rb'); for a socket, makefile('rb'); for bytes, io.BytesIO"
        )
    is_async = is_async or inspect.iscoroutinefunction(read) or inspect.iscoroutinefunction(write)
    return AsyncObservedFile if is_async else ObservedFile


def _is_seekable(stream: Any) -> bool:
    seekable = getattr(stream, "seekable", None)
    try:
        if inspect.iscoroutinefunction(seekable):
            return hasattr(stream, "seek")  # its answer cannot be awaited here
        return callable(seekable) and bool(seekable())
    except ValueError:  # it is closed
        return False
