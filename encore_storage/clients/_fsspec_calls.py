"""The observed methods of fsspec's file systems, sync and async."""

from __future__ import annotations

import functools
import io
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from encore_storage.clients._fsspec_files import Files
from encore_storage.clients._fsspec_methods import (
    LEAVES,
    METHODS,
    Work,
    argument,
    changes_of,
    count_arguments,
    count_file,
    count_received,
    count_result,
    is_ranged,
    key_of,
    snapshot,
)
from encore_storage.clients._fsspec_opened import Opened
from encore_storage.clients._fsspec_stores import Stores, layers_of, stand_in_of
from encore_storage.clients._fsspec_transactions import emit_change, open_transactions, transaction_of
from encore_storage.clients.client import Options
from encore_storage.clients.nesting import inside
from encore_storage.clients.swapping import options_of
from encore_storage.events import Direction
from encore_storage.events import Operation as OperationName
from encore_storage.observing import ObservedIterator, Operation, StoreObserver
from encore_storage.observing.operation import Enclosing, enclosing_operations

_END = object()
_WORKS = frozenset({"set", "delete", "copy", "move"})


class Calls:
    """The observed methods of one class of file systems."""

    def __init__(self, cls: type, options: Options, files: Files) -> None:
        self.stores = Stores(cls, options)
        self._options = options
        self._files = files
        self._is_local = cls.__module__ == "fsspec.implementations.local"

    def method(self, name: str, owner: Any, attribute: str) -> Callable[..., Any]:
        """Return the observed method `name` for the plain one that is an attribute of its owner.

        The attribute is read at each call, since programs replace methods of classes.
        """
        make = {"open": self._open, "open_async": self._open_async, "walk": self._walk, "_walk": self._walk_async}
        if name in make:
            return make[name](owner, attribute)
        if name.startswith("_"):
            return self._async_method(name[1:], owner, attribute)
        return self._method(name, owner, attribute)

    def _method(self, name: str, owner: Any, attribute: str) -> Callable[..., Any]:
        position, is_leaf = METHODS[name].position, name in LEAVES

        @functools.wraps(getattr(owner, attribute))
        def method(self_: Any, *args: Any, **kwargs: Any) -> Any:
            enclosing = enclosing_operations.get()
            if enclosing and (part := self._part(self_, enclosing)) is not None:
                if not is_leaf:
                    return getattr(owner, attribute)(self_, *args, **kwargs)
                before = snapshot(name, args, kwargs)
                result = getattr(owner, attribute)(self_, *args, **kwargs)
                count_file(part, name, args, kwargs, before)
                return result
            operation = self._make(self_, name, args[position] if len(args) > position else _END, args, kwargs)
            operation.start()
            before = snapshot(name, args, kwargs) if operation.work is not None else None
            operation.target = self_
            token = enclosing_operations.set((weakref.ref(operation), *enclosing))  # as `inside` does, at half the cost
            try:
                result = getattr(owner, attribute)(self_, *args, **kwargs)
            except BaseException as error:
                enclosing_operations.reset(token)
                self._fail(self_, operation, name, args, kwargs, before, error)
                raise
            enclosing_operations.reset(token)
            self._succeed(self_, operation, name, args, kwargs, before, result)
            return result

        return method

    def _async_method(self, name: str, owner: Any, attribute: str) -> Callable[..., Any]:
        @functools.wraps(getattr(owner, attribute))
        async def method(self_: Any, *args: Any, **kwargs: Any) -> Any:
            part = self._part(self_, enclosing_operations.get())
            if part is not None:
                before = snapshot(name, args, kwargs)
                result = await getattr(owner, attribute)(self_, *args, **kwargs)
                count_file(part, name, args, kwargs, before)
                return result
            operation = self._make(self_, name, _END, args, kwargs)
            operation.start()
            before = snapshot(name, args, kwargs)
            try:
                with inside(operation, self_):
                    result = await getattr(owner, attribute)(self_, *args, **kwargs)
            except BaseException as error:
                self._fail(self_, operation, name, args, kwargs, before, error)
                raise
            self._succeed(self_, operation, name, args, kwargs, before, result)
            return result

        return method

    def _walk(self, owner: Any, attribute: str) -> Callable[..., Any]:
        @functools.wraps(getattr(owner, attribute))
        def walk(self_: Any, *args: Any, **kwargs: Any) -> Any:
            if self._part(self_, enclosing_operations.get()) is not None:
                return getattr(owner, attribute)(self_, *args, **kwargs)
            operation = self._make(self_, "walk", _END, args, kwargs)
            return ObservedIterator(
                self._steps(self_, operation, getattr(owner, attribute)(self_, *args, **kwargs)), operation
            )

        return walk

    def _steps(self, fs: Any, operation: Operation, entries: Any) -> Iterator[Any]:
        operation.start()
        entries = iter(entries)
        try:
            while True:
                with inside(operation, fs):
                    entry = next(entries, _END)
                if entry is _END:
                    return
                _count_entry(operation, entry)
                yield entry
        except GeneratorExit:
            entries.close()
            raise
        except BaseException as error:
            operation.finish_unless_forked(stand_in_of(error, self._options))
            raise

    def _walk_async(self, owner: Any, attribute: str) -> Callable[..., Any]:
        @functools.wraps(getattr(owner, attribute))
        async def walk(self_: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            entries = getattr(owner, attribute)(self_, *args, **kwargs)
            if self._part(self_, enclosing_operations.get()) is not None:
                async for entry in entries:
                    yield entry
                return
            operation = self._make(self_, "walk", _END, args, kwargs)
            operation.start()
            try:
                while True:
                    with inside(operation, self_):
                        entry = await anext(entries, _END)
                    if entry is _END:
                        break
                    _count_entry(operation, entry)
                    yield entry
            except GeneratorExit:
                await entries.aclose()
                operation.finish_unless_forked()
                raise
            except BaseException as error:
                operation.finish_unless_forked(stand_in_of(error, self._options))
                raise
            operation.finish_unless_forked()

        return walk

    def _open(self, owner: Any, attribute: str) -> Callable[..., Any]:
        @functools.wraps(getattr(owner, attribute))
        def open_(self_: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            mode = args[0] if args else kwargs.get("mode", "rb")
            enclosing = enclosing_operations.get()
            if enclosing and (part := self._part(self_, enclosing)) is not None:
                file = getattr(owner, attribute)(self_, path, *args, **kwargs)
                if part.target is self_ and isinstance(part.work, Opened) and "b" in mode:  # of a text file
                    file, part.work = self._files.attach(file, part.work, self._options), None
                return file
            operation = self._opening(self_, path, mode)
            opened = operation.work
            token = enclosing_operations.set((weakref.ref(operation), *enclosing))
            try:
                file = getattr(owner, attribute)(self_, path, *args, **kwargs)
            except BaseException as error:
                enclosing_operations.reset(token)
                operation.work = None
                opened.finish(error, is_closed=False)
                raise
            enclosing_operations.reset(token)
            return self._attach(self_, operation, opened, file)

        return open_

    def _open_async(self, owner: Any, attribute: str) -> Callable[..., Any]:
        @functools.wraps(getattr(owner, attribute))
        async def open_async(self_: Any, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
            if self._part(self_, enclosing_operations.get()) is not None:
                return await getattr(owner, attribute)(self_, path, mode, **kwargs)
            operation = self._opening(self_, path, mode)
            opened = operation.work
            try:
                with inside(operation, self_):
                    file = await getattr(owner, attribute)(self_, path, mode, **kwargs)
            except BaseException as error:
                operation.work = None
                opened.finish(error, is_closed=False)
                raise
            return self._attach(self_, operation, opened, file)

        return open_async

    def _opening(self, fs: Any, path: Any, mode: str) -> Operation:
        observer = self.stores.fixed or self.stores.observer(fs, path)
        key = key_of(path)
        if "r" in mode and "+" not in mode:
            operation = self._operation(fs, observer, "get", "read", key)
        else:
            operation = self._operation(fs, observer, "set", "write", key)
        operation.work = Opened(fs, observer, operation, self._options, mode, key)
        operation.start()
        operation.target = fs  # until the file is closed
        return operation

    def _attach(self, fs: Any, operation: Operation, opened: Opened, file: Any) -> Any:
        operation.target = fs  # also after `inside`
        if operation.operation_id is None and opened.reads:  # nobody listens
            operation.work = None
            operation.finish()
            return file
        if operation.work is not None:
            operation.work = None
            file = self._files.attach(file, opened, self._options)
        if isinstance(file, io.TextIOWrapper):
            opened.text = id(file)
        return file

    def _part(self, fs: Any, enclosing: Enclosing) -> Operation | None:
        """Return the operation that a call is part of, or None.

        The local file system that another one uses to get and put files is part of that, too, unless that is a layer
        over it.
        """
        for reference in enclosing:
            operation = reference()
            target = None if operation is None else operation.target
            if target is fs:
                return operation
            if self._is_local and target is not None and options_of(target) is not None:
                is_layer = any(layer is fs for layer in layers_of(target))
                return None if is_layer or type(target).__name__ == "GenericFileSystem" else operation
        return None

    def _make(self, fs: Any, name: str, path: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Operation:
        """Return the operation of a call; its path is looked up in the arguments unless it is given."""
        kind, direction, position, names, is_local = METHODS[name]
        if path is _END:
            path = argument(args, kwargs, position, names)
        if len(args) + len(kwargs) > 1 and is_ranged(name, args, kwargs):
            kind = "get_range"
        observer = self.stores.fixed or self.stores.observer(fs, path)
        operation = self._operation(fs, observer, kind, direction, key_of(path))
        if is_local or kind in _WORKS:
            operation.work = Work(fs, kind, observer)
        return operation

    def _operation(
        self, fs: Any, observer: StoreObserver, kind: OperationName, direction: Direction | None, key: str | None
    ) -> Operation:
        transaction = transaction_of(fs) if open_transactions else None
        observed = None if transaction is None else transaction.observed
        return observer.make_operation(kind, key, direction, -1, None, None, observed)

    def _succeed(
        self,
        fs: Any,
        operation: Operation,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        before: Any,
        result: Any,
    ) -> None:
        operation.target = None
        if operation.work is None:
            if result.__class__ is bytes:
                operation.count_to(len(result))
            else:
                count_result(operation, METHODS[name], name, result)
            operation.finish()
            return
        count_file(operation, name, args, kwargs, before)
        count_arguments(operation, name, args, kwargs)
        self._end_work(fs, operation, None)

    def _fail(
        self,
        fs: Any,
        operation: Operation,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        before: Any,
        error: BaseException,
    ) -> None:
        operation.target = None
        stand_in = stand_in_of(error, self._options)
        if operation.work is None:
            operation.finish_unless_forked(stand_in)
        else:
            count_received(operation, name, args, kwargs, before)
            self._end_work(fs, operation, stand_in)

    def _end_work(self, fs: Any, operation: Operation, error: BaseException | None) -> None:
        changes, observer = changes_of(operation), operation.work.observer
        operation.finish_unless_forked(error)
        for change in changes:
            emit_change(fs, observer, change)


def _count_entry(operation: Operation, entry: Any) -> None:
    if isinstance(entry, tuple):
        operation.items = (operation.items or 0) + sum(map(len, entry[1:3]))
