"""The files that fsspec's file systems open, observed by class swap from their opening to their close."""

from __future__ import annotations

import functools
import inspect
import io
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any

from encore_events.errors import ProgressError
from encore_storage.clients._fsspec_methods import size_of
from encore_storage.clients._fsspec_opened import Lines, Opened, moved_by, within
from encore_storage.clients._fsspec_stores import state_of
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import OWN, Swapper, options_of, plain_class, set_class
from encore_storage.errors import ForkedStoreError
from encore_storage.observing.operation import enclosing_operations

_OPENED = f"{OWN}opened"
_IS_STALE = f"{OWN}is_stale"

_READS = ["read", "read1", "readinto", "readinto1", "readline", "readlines", "readuntil", "readall", "__next__"]
_WRITES = ["write", "writelines"]

_BUFFERED = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)
_ALONE = (io.BytesIO, *_BUFFERED)
"""Classes that serve themselves, without a file system."""


class Files:
    """Observes the files that are opened by observed file systems."""

    def __init__(self) -> None:
        self._swapper = Swapper(self._wrap)
        self._alone: set[type] = set()

    def attach(self, file: Any, opened: Opened, options: Options) -> Any:
        """Return the file, observed from now on: itself if possible."""
        cls = type(file)
        if issubclass(cls, io.TextIOWrapper) and type(file.buffer) not in _BUFFERED:
            self.attach(file.buffer, opened, options)
            return file
        if cls in _BUFFERED:
            file = self._rebuild(file, options)
        elif options_of(file) is None:
            try:
                state_of(file)
                self._swapper.swap(file, options)
            except (TypeError, AttributeError):  # made in C, or without a dict
                return opened.stand_in(file)
        state = file.__dict__
        opened.attach(state)
        others = state.get(_OPENED)
        state[_OPENED] = (opened,) if not others else (*self._reopened(others, opened), opened)
        return file

    def _reopened(self, others: tuple[Opened, ...], opened: Opened) -> Iterator[Opened]:
        for one in others:
            if one.fs is opened.fs:  # a file that cannot close is opened again: one of the memory file system
                one.finish()
            else:
                yield one

    def end(self, file: Any, call: Callable[..., Any], *args: Any, block_error: BaseException | None = None) -> Any:
        """Close the file by calling `call`, and end its operations; `block_error` has ended its `with` block."""
        opened = self._detach(file)
        try:
            if plain_class(file) in self._alone:
                result = call(*args)
            else:
                with within(opened):
                    result = call(*args)
        except BaseException as error:
            self._fail(file, opened, error)
            raise
        self._close(file, opened, block_error)
        return result

    async def end_async(
        self, file: Any, call: Callable[..., Any], *args: Any, block_error: BaseException | None = None
    ) -> Any:
        """Close an async file as `end` does."""
        opened = self._detach(file)
        try:
            with within(opened):
                result = await call(*args)
        except BaseException as error:
            self._fail(file, opened, error)
            raise
        self._close(file, opened, block_error)
        return result

    def _count(self, file: Any, opened: tuple[Opened, ...], size: int, *, reads: bool) -> None:
        try:
            for one in opened:
                if one.reads is reads:  # a file that is open for both counts what is written
                    one.count(size, file)
        except (ForkedStoreError, ProgressError):  # in a forked child, or after an interrupt
            self._abandon(file)

    def _detach(self, file: Any) -> tuple[Opened, ...]:
        opened: tuple[Opened, ...] = file.__dict__.pop(_OPENED, ())
        for one in opened:
            if not one.reads:
                one.count_handle(file)
        return opened

    def _close(self, file: Any, opened: tuple[Opened, ...], block_error: BaseException | None) -> None:
        self._restore(file)
        is_committed = file.__dict__.get("autocommit", True)
        for one in opened:
            one.finish(None if one.reads else block_error, is_committed=is_committed)

    def _fail(self, file: Any, opened: tuple[Opened, ...], error: BaseException) -> None:
        state_of(file).pop(_OPENED, None)
        self._restore(file)
        for one in opened:
            one.finish(error, is_closed=False)

    def _abandon(self, file: Any) -> None:
        """Drop the operations of a file that is collected unclosed: their finalizers end them in another thread."""
        for one in state_of(file).pop(_OPENED, ()):
            one.operation.count_to(one.moved)
        self._restore(file)

    def _rebuild(self, file: Any, options: Options) -> Any:
        """Return a file of a subclass over the same raw file, for a class that is made in C."""
        made, state = self._swapper.observed_class(type(file), options), dict(vars(file))
        raw = file.detach()
        rebuilt = type.__call__(made, raw, getattr(raw, "_blksize", io.DEFAULT_BUFFER_SIZE))
        vars(rebuilt).update(state)
        return rebuilt

    def _restore(self, file: Any) -> None:
        plain = plain_class(file)
        if type(file) is not plain and plain not in _BUFFERED:
            set_class(file, plain)

    def _wrap(self, cls: Any, options: Options) -> Mapping[str, Any]:  # noqa: ARG002 (each opening has its own)
        if issubclass(cls, _ALONE) or cls.__name__ == "LocalFileOpener":
            self._alone.add(cls)
        names = dict(self._methods(cls))
        for name in ("__exit__", "__aexit__"):
            if hasattr(cls, name):
                names[name] = self._leaving(getattr(cls, name))
        if hasattr(cls, "__iter__"):
            names["__iter__"] = self._iterating(cls.__iter__)
        if cls in _BUFFERED:  # the representation in C names the class
            names["__repr__"] = lambda file: cls.__repr__(file).replace("<", "<_io.", 1)
        names["__del__"] = self._abandoning(getattr(cls, "__del__", None))
        names["_dealloc_warn"] = self._text_collected(getattr(cls, "_dealloc_warn", None))
        if hasattr(cls, "_fetch_all"):
            names["_fetch_all"] = _fetching(cls._fetch_all)
        return names

    def _methods(self, cls: Any) -> Iterator[tuple[str, Any]]:
        is_async = inspect.iscoroutinefunction(getattr(cls, "close", None))
        yield "close", _Close(cls, self.end_async if is_async else self.end)
        for name in (*_READS, *_WRITES):
            plain = getattr(cls, name, None)
            if callable(plain):
                if plain is not getattr(io.IOBase, name, None):  # that calls the other methods
                    yield name, self._method(cls, name, plain)
            elif hasattr(cls, "__getattr__") and not name.startswith("__"):
                yield name, _Delegated(cls, name, self._method)

    def _method(self, cls: type, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(plain):
            return self._async_method(name, plain)
        if cls in self._alone and name != "writelines":
            if (
                name == "read"
                and getattr(plain, "__code__", None) is not None
                and plain.__code__.co_names == ("f", name)
            ):
                return self._local_read(plain)
            return self._simple_method(name, plain)

        reads = name not in _WRITES

        @functools.wraps(plain)
        def method(self_: Any, *args: Any, **kwargs: Any) -> Any:
            opened = self_.__dict__.get(_OPENED)
            if not opened or weakref.ref(opened[0].operation) in enclosing_operations.get():
                return plain(self_, *args, **kwargs)
            if name == "writelines":
                args = (Lines(args[0]), *args[1:])
            try:
                with within(opened):
                    result = plain(self_, *args, **kwargs)
            except StopIteration:
                raise
            except BaseException as error:
                self._fail(self_, opened, error)
                raise
            self._count(self_, opened, moved_by(name, args, result), reads=reads)
            return result

        return method

    def _simple_method(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that calls no other method of the file: reading 64 KiB of a local file takes 5 µs."""
        reads = name not in _WRITES

        @functools.wraps(plain)
        def method(self_: Any, *args: Any, **kwargs: Any) -> Any:
            opened = self_.__dict__.get(_OPENED)
            if not opened:
                return plain(self_, *args, **kwargs)
            try:
                result = plain(self_, *args, **kwargs)
            except StopIteration:
                raise
            except BaseException as error:
                self._fail(self_, opened, error)
                raise
            size = len(result) if result.__class__ is bytes else moved_by(name, args, result)
            self._count(self_, opened, size, reads=reads)
            return result

        return method

    def _local_read(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method `read` of a local file, which reads the file inside: 64 KiB take 3 µs."""

        @functools.wraps(plain)
        def read(self_: Any, *args: Any, **kwargs: Any) -> Any:
            opened = self_.__dict__.get(_OPENED)
            if opened is None or len(opened) != 1 or not opened[0].reads:
                return simple(self_, *args, **kwargs)
            try:
                data = self_.f.read(*args, **kwargs)
            except BaseException as error:
                self._fail(self_, opened, error)
                raise
            one = opened[0]
            size = len(data)
            moved = one.moved = one.moved + size
            operation = one.operation
            if moved == size or operation._now() >= operation._due:  # noqa: SLF001 (a call would double the cost)
                one.moved -= size
                self._count(self_, opened, size, reads=True)
            return data

        simple = self._simple_method("read", plain)
        return read

    def _async_method(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        reads = name not in _WRITES

        @functools.wraps(plain)
        async def method(self_: Any, *args: Any, **kwargs: Any) -> Any:
            opened = self_.__dict__.get(_OPENED)
            if not opened or weakref.ref(opened[0].operation) in enclosing_operations.get():
                return await plain(self_, *args, **kwargs)
            try:
                with within(opened):
                    result = await plain(self_, *args, **kwargs)
            except BaseException as error:
                self._fail(self_, opened, error)
                raise
            self._count(self_, opened, moved_by(name, args, result), reads=reads)
            return result

        return method

    def _iterating(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def iterate(self_: Any) -> Any:
            lines = plain(self_)
            return lines if lines is self_ or not self_.__dict__.get(_OPENED) else self._lines(self_, lines)

        return iterate

    def _lines(self, file: Any, lines: Iterator[Any]) -> Iterator[Any]:
        for line in lines:
            self._count(file, file.__dict__.get(_OPENED, ()), size_of(line), reads=True)
            yield line

    def _leaving(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        end = self.end_async if inspect.iscoroutinefunction(plain) else self.end

        @functools.wraps(plain)
        def leave(self_: Any, kind: Any, error: Any, traceback: Any) -> Any:
            if not self_.__dict__.get(_OPENED):
                return plain(self_, kind, error, traceback)
            return end(self_, plain, self_, kind, error, traceback, block_error=error)

        return leave

    def _abandoning(self, plain: Callable[..., Any] | None) -> Callable[..., Any]:
        def abandon(self_: Any, *args: Any) -> None:
            self._abandon(self_)
            if plain is not None:
                plain(self_, *args)

        return abandon

    def _text_collected(self, plain: Callable[..., Any] | None) -> Callable[..., Any]:
        """Return the method that a text file around this one calls when it is collected, before it calls `close`.

        A text file around a file that cannot close, of the memory file system, takes itself for open. It may be
        collected long after its own end, when the file has been opened again.
        """

        def collected(self_: Any, text: object) -> None:
            if plain is not None:
                plain(self_, text)
            opened = self_.__dict__.get(_OPENED, ())
            if not isinstance(self_, io.BytesIO) or any(one.text == id(text) for one in opened):
                self._abandon(self_)
            elif opened:
                self_.__dict__[_IS_STALE] = True

        return collected


class _Close:
    """The method `close` of an observed file, also where the file has one of its own: caching file systems do that."""

    def __init__(self, cls: Any, end: Callable[..., Any]) -> None:
        self._cls = cls
        self._plain: Any = getattr(cls, "close", None)
        self._end = end
        self._method = _closing(self._plain, end) if callable(self._plain) else None

    def __get__(self, file: Any, owner: type) -> Any:
        if file is None:
            return self._plain
        state = file.__dict__
        own = state.get("close")
        if not state.get(_OPENED) or state.pop(_IS_STALE, False):
            return own or (self._cls.__getattr__(file, "close") if self._method is None else self._plain.__get__(file))
        if own is None and self._method is not None:
            return MethodType(self._method, file)
        return functools.partial(self._end, file, own or self._cls.__getattr__(file, "close"))

    def __set__(self, file: Any, value: Any) -> None:
        file.__dict__["close"] = value

    def __delete__(self, file: Any) -> None:
        del file.__dict__["close"]


def _closing(plain: Callable[..., Any], end: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def close(self_: Any) -> Any:
        return end(self_, plain, self_)

    @functools.wraps(plain)
    async def close_async(self_: Any) -> Any:
        return await end(self_, plain, self_)

    return close_async if inspect.iscoroutinefunction(plain) else close


class _Delegated:
    """A method that a file has by `__getattr__`, as `LocalFileOpener` has those of the file inside."""

    def __init__(self, cls: Any, name: str, method: Callable[..., Any]) -> None:
        self._cls = cls
        self._name = name
        self._method = method

    def __get__(self, file: Any, owner: type) -> Any:
        if file is None:
            raise AttributeError(self._name)
        inner = self._cls.__getattr__(file, self._name)
        method = self._method(object, self._name, lambda _, *args, **kwargs: inner(*args, **kwargs))
        return functools.wraps(inner)(functools.partial(method, file))


def _fetching(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method of HTTP's file that fetches all of it, past its cache."""

    @functools.wraps(plain)
    def fetch(self_: Any, *args: Any, **kwargs: Any) -> Any:
        cache = self_.cache
        result = plain(self_, *args, **kwargs)
        if self_.cache is not cache:
            for one in self_.__dict__.get(_OPENED, ()):
                one.count_fetched(self_.cache.size)
        return result

    return fetch
