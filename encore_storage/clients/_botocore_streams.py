"""The bodies of responses, whose reading is observed: the operation of the call ends with its body."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from encore_events import forks
from encore_events.loggers import get_logger
from encore_storage.clients._botocore_errors import error_of
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import Swapper, set_class
from encore_storage.errors import StoreConnectionError
from encore_storage.observing import Operation

logger = get_logger("encore_storage")

_READING = "_encore_reading"


class _Reading:
    """The reading of one body; it refers to the operation, and the body to it, so that they are collected together."""

    __slots__ = ("_done", "_expected", "_operation", "_options", "_plain_class")

    def __init__(self, operation: Operation, options: Options, expected: int | None) -> None:
        self._operation = operation
        self._options = options
        self._expected = expected
        self._done = 0

    def observe(self, stream: Any) -> None:
        """Observe a body, or the raw stream of one."""
        plain = self._plain_class = type(stream)
        stream.__dict__[_READING] = self
        stream.__class__ = _observed_classes.get(plain) or _observed_class(plain)

    def leave(self, stream: Any) -> None:
        """Give the stream its plain class again."""
        del stream.__dict__[_READING]
        set_class(stream, self._plain_class)

    def count(self, stream: Any, size: int, *, is_end: bool = False) -> None:
        """Count bytes that were read. The last one ends the operation, since a reader may stop there."""
        operation, expected = self._operation, self._expected
        if operation.is_over or operation.process is not forks.current:
            return
        done = self._done = self._done + size
        try:
            if not is_end and done != expected:
                operation(step=done)
                return
            operation.count_to(done)  # the end reports it
            if is_end and done == expected:
                self.leave(stream)
                operation.finish()
                return
        except Exception:
            logger.exception("could not observe the reading of %r", stream)
            return
        error: Exception | None = None
        if not is_end:
            error = _checksum_error(stream)
        elif expected is not None:
            error = StoreConnectionError(f"the body ended after {done} of {expected} bytes")
        self.end(stream, error)

    def end(self, stream: Any, error: BaseException | None = None) -> None:
        """End the operation with the bytes that were read, or with an error."""
        if self._operation.is_over:
            return
        try:
            self.leave(stream)
            if error is not None and not isinstance(error, StoreConnectionError):
                error = error_of(error, self._options, reads=True)
            self._operation.finish_unless_forked(error)
        except Exception:
            logger.exception("could not observe the end of %r", stream)


def observe_body(body: Any, operation: Operation, options: Options) -> bool:
    """Have the operation end with the body; return False if it can't be observed, or nobody listens."""
    if operation.operation_id is None:
        return False
    if not hasattr(body, "_raw_stream"):
        if hasattr(type(body), "_verify_content_length"):
            _warn_of(type(body).__module__)
        return False
    length = getattr(body, "_content_length", None)
    expected = None
    if length is not None:
        expected = operation.steps = int(length)
    reading = _Reading(operation, options, expected)
    reading.observe(body)
    if expected == 0:
        reading.count(body, 0)  # an empty body need not be read
    return True


@functools.cache
def _warn_of(module: str) -> None:
    """Log once that the bodies of a module, as those of aiobotocore before 3.8, are proxies that can't be observed."""
    logger.warning("cannot count the bytes of the bodies of %r: install aiobotocore 3.8 or later", module)


def _checksum_error(body: Any) -> Exception | None:
    """Return the error that the next read would raise, if the checksum of the bytes is wrong."""
    try:
        getattr(body, "_validate_checksum", int)()
    except Exception as error:  # noqa: BLE001 (the reader gets it, if it reads on)
        return error
    return None


def _observed_class(cls: Any) -> type:
    """Make the class of the observed streams of a class: bodies, event streams, or raw streams of urllib3."""
    if hasattr(cls, "get_initial_response"):
        iterate = {"__anext__": _async_events(cls)} if hasattr(cls, "__anext__") else {"__iter__": _events(cls)}
        names = iterate
    elif hasattr(cls, "_verify_content_length"):
        names = {"read": _observed(cls, "read", _after_read), "readinto": _observed(cls, "readinto", _after_readinto)}
        if not inspect.iscoroutinefunction(cls.read):
            names |= {name: _of_raw_stream(cls, name) for name in ("__enter__", "readlines")}
    else:
        names = {name: _observed(cls, name, _after_read) for name in ("read", "read1") if hasattr(cls, name)}
        names |= {"read_chunked": _chunks(cls)} if hasattr(cls, "read_chunked") else {}
    names |= {name: _observed(cls, name, _after_close) for name in ("close", "aclose") if hasattr(cls, name)}
    no_options = cast("Options", None)  # the readings have them; a class would keep them for ever
    made = Swapper(lambda *_: names, shared=False).observed_class(cls, no_options)
    return _observed_classes.setdefault(cls, made)


_observed_classes: dict[type, type] = {}


def _observed(cls: Any, name: str, after: Callable[..., None]) -> Callable[..., Any]:
    """Return the observed variant of a method, sync or async; `after` observes its result."""
    method = getattr(cls, name)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        reading = self.__dict__.get(_READING)
        if reading is None:  # it has ended, and the program has kept this method
            return method(self, *args, **kwargs)
        try:
            result = method(self, *args, **kwargs)
        except BaseException as error:
            reading.end(self, error)
            raise
        after(self, reading, result, *args, **kwargs)
        return result

    @functools.wraps(method)
    async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        reading = self.__dict__.get(_READING)
        if reading is None:
            return await method(self, *args, **kwargs)
        try:
            result = await method(self, *args, **kwargs)
        except BaseException as error:
            reading.end(self, error)
            raise
        after(self, reading, result, *args, **kwargs)
        return result

    return call_async if inspect.iscoroutinefunction(method) else call


def _after_read(self: Any, reading: _Reading, data: bytes, amt: int | None = None, **_: Any) -> None:
    size = len(data)
    reading.count(self, size, is_end=amt is None or amt < 0 or not (size or amt == 0))


def _after_readinto(self: Any, reading: _Reading, size: int, b: Any) -> None:
    reading.count(self, size, is_end=size == 0 and len(b) > 0)


def _after_close(self: Any, reading: _Reading, *_: Any) -> None:
    if not self.__dict__.get("_finalizing"):  # io sets it when it closes a collected stream, as is the operation
        reading.end(self)


def _of_raw_stream(cls: Any, name: str) -> Callable[..., Any]:
    """Return the variant of a method with which the raw stream is observed from then on instead of the body."""
    method = getattr(cls, name)

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        reading = self.__dict__.get(_READING)
        if reading is not None:
            reading.leave(self)
            reading.observe(self._raw_stream)
        return method(self, *args)

    return call


def _chunks(cls: Any) -> Callable[..., Any]:
    def read_chunked(self: Any, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        return _iterated(self, cls.read_chunked(self, *args, **kwargs), len)

    return functools.wraps(cls.read_chunked)(read_chunked)


def _events(cls: Any) -> Callable[..., Any]:
    def iterate(self: Any) -> Iterator[Any]:
        return _iterated(self, cls.__iter__(self), _records_size)

    return iterate


def _iterated(self: Any, items: Iterable[Any], size_of: Callable[[Any], int]) -> Iterator[Any]:
    reading = self.__dict__.get(_READING)
    if reading is None:
        yield from items
        return
    try:
        for item in items:
            reading.count(self, size_of(item))
            yield item
    except GeneratorExit:  # the rest can still be read
        raise
    except BaseException as error:
        reading.end(self, error)
        raise
    reading.count(self, 0, is_end=True)


def _async_events(cls: Any) -> Callable[..., Any]:
    async def iterate(self: Any) -> AsyncIterator[Any]:
        reading = self.__dict__.get(_READING)
        try:
            async for event in cls.__anext__(self):
                if reading is not None:
                    reading.count(self, _records_size(event))
                yield event
        except GeneratorExit:
            raise
        except BaseException as error:
            if reading is not None:
                reading.end(self, error)
            raise
        if reading is not None:
            reading.count(self, 0, is_end=True)

    return iterate


def _records_size(event: Mapping[str, Any]) -> int:
    """Return the number of bytes of the records in an event of SelectObjectContent."""
    return len(event.get("Records", {}).get("Payload", b""))
