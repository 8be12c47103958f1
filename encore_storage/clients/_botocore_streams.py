"""The bodies of responses, whose reading is observed: the operation of the call ends with its body."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from encore_events import forks
from encore_storage.clients._botocore_errors import error_of
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import Swapper, options_of
from encore_storage.errors import StoreConnectionError
from encore_storage.observing import Operation

_READING = "_encore_reading"


class _Reading:
    """The reading of one body; it refers to the operation, and the body to it, so that they are collected together."""

    __slots__ = ("_done", "_expected", "_operation", "_options")

    def __init__(self, operation: Operation, options: Options, expected: int | None) -> None:
        self._operation = operation
        self._options = options
        self._expected = expected
        self._done = 0

    def count(self, body: Any, size: int, *, is_end: bool = False) -> None:
        """Count bytes that were read. The last one ends the operation, since a reader may stop there."""
        operation = self._operation
        if operation.is_over or operation.process is not forks.current:
            return
        if size:
            self._done += size
            operation(step=self._done)
        is_complete = self._done == self._expected
        if is_end and not (is_complete or self._expected is None):
            self.end(body, StoreConnectionError(f"the body ended after {self._done} of {self._expected} bytes"))
        elif is_end:
            self.end(body)
        elif is_complete:
            self.end(body, _checksum_error(body))

    def end(self, body: Any, error: BaseException | None = None) -> None:
        """End the operation with the bytes that were read, or with an error."""
        _restore(body)
        if error is not None and not isinstance(error, StoreConnectionError):
            error = error_of(error, self._options, reads=True)
        self._operation.finish_unless_forked(error)


def observe_body(body: Any, operation: Operation, options: Options) -> bool:
    """Have the operation end with the body; return False if it can't be observed, or nobody listens."""
    if operation.operation_id is None or not hasattr(body, "_raw_stream"):
        return False
    length = getattr(body, "_content_length", None)
    reading = _Reading(operation, options, None if length is None else int(length))
    _observe(body, reading, options)
    reading.count(body, 0)  # an empty body need not be read
    return True


def _observe(stream: Any, reading: _Reading, options: Options) -> None:
    vars(stream)[_READING] = reading
    _streams.swap(stream, options)


def _restore(body: Any) -> None:
    """Give the body and its raw stream their plain classes."""
    for stream in (body, getattr(body, "_raw_stream", None)):
        if options_of(stream) is not None:
            _streams.restore(stream)
            vars(stream).pop(_READING, None)


def _checksum_error(body: Any) -> Exception | None:
    """Return the error that the next read would raise, if the checksum of the bytes is wrong."""
    try:
        getattr(body, "_validate_checksum", int)()
    except Exception as error:  # noqa: BLE001 (the reader gets it, if it reads on)
        return error
    return None


def _wrap(cls: Any, options: Options) -> Mapping[str, Any]:
    """Return the observed methods of a body, an event stream, or the raw stream of a body."""
    if hasattr(cls, "get_initial_response"):
        iterate = {"__anext__": _async_events(cls)} if hasattr(cls, "__anext__") else {"__iter__": _events(cls)}
        return {**iterate, "close": _observed(cls, "close")}
    if not hasattr(cls, "_verify_content_length"):
        return {name: _observed(cls, name) for name in ("read", "read1", "read_chunked", "close") if hasattr(cls, name)}
    names = {name: _observed(cls, name) for name in ("read", "readinto", "close", "aclose") if hasattr(cls, name)}
    if inspect.iscoroutinefunction(cls.read):
        return names

    # These leave the reading to the raw stream of urllib3.
    def enter(self: Any) -> Any:
        _observe_raw(self, options)
        return cls.__enter__(self)

    def readlines(self: Any) -> Any:
        _observe_raw(self, options)
        return cls.readlines(self)

    return {**names, "__enter__": enter, "readlines": functools.wraps(cls.readlines)(readlines)}


def _observe_raw(body: Any, options: Options) -> None:
    """Observe the raw stream of a body instead of the body."""
    reading = vars(body).get(_READING)
    if reading is not None:
        _restore(body)
        _observe(body._raw_stream, reading, options)  # noqa: SLF001 (botocore's `with` block returns it)


def _observed(cls: type, name: str) -> Callable[..., Any]:
    """Return the observed variant of a method that reads or closes, sync or async."""
    method = getattr(cls, name)
    observe: Callable[..., None] = _after_close if name.endswith("close") else _after_read

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        reading = vars(self).get(_READING)
        try:
            result = method(self, *args, **kwargs)
        except BaseException as error:
            if reading is not None:
                reading.end(self, error)
            raise
        if reading is not None:
            if inspect.isgenerator(result):
                return _counted(self, reading, result)
            observe(self, reading, result, *args, **kwargs)
        return result

    @functools.wraps(method)
    async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        reading = vars(self).get(_READING)
        try:
            result = await method(self, *args, **kwargs)
        except BaseException as error:
            if reading is not None:
                reading.end(self, error)
            raise
        if reading is not None:
            observe(self, reading, result, *args, **kwargs)
        return result

    return call_async if inspect.iscoroutinefunction(method) else call


def _after_close(self: Any, reading: _Reading, *_: Any) -> None:
    if not vars(self).get("_finalizing"):  # io sets it when it closes a collected stream, whose operation is collected
        reading.end(self)


def _after_read(self: Any, reading: _Reading, result: Any, amt: Any = None, *_: Any, **kwargs: Any) -> None:
    if isinstance(result, int):  # of readinto
        size, wanted = result, len(kwargs.get("b", amt))
    else:
        size, wanted = len(result), -1 if amt is None else amt
    reading.count(self, size, is_end=wanted < 0 or (size == 0 and wanted > 0))


def _counted(self: Any, reading: _Reading, chunks: Iterator[Any]) -> Iterator[Any]:
    try:
        for chunk in chunks:
            reading.count(self, len(chunk))
            yield chunk
    except GeneratorExit:
        raise
    except BaseException as error:
        reading.end(self, error)
        raise
    reading.count(self, 0, is_end=True)


def _events(cls: Any) -> Callable[..., Any]:
    def iterate(self: Any) -> Iterator[Any]:
        reading = vars(self)[_READING]
        try:
            for event in cls.__iter__(self):
                reading.count(self, _records_size(event))
                yield event
        except GeneratorExit:  # the rest can still be read
            raise
        except BaseException as error:
            reading.end(self, error)
            raise
        reading.end(self)

    return iterate


def _async_events(cls: Any) -> Callable[..., Any]:
    async def iterate(self: Any) -> AsyncIterator[Any]:
        reading = vars(self)[_READING]
        try:
            async for event in cls.__anext__(self):
                reading.count(self, _records_size(event))
                yield event
        except GeneratorExit:  # the rest can still be read
            raise
        except BaseException as error:
            reading.end(self, error)
            raise
        reading.end(self)

    return iterate


def _records_size(event: Mapping[str, Any]) -> int:
    """Return the number of bytes of the records in an event of SelectObjectContent."""
    return len(event.get("Records", {}).get("Payload", b""))


_streams = Swapper(_wrap)
