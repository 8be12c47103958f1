"""The client of fsspec: file systems and the files that they open, observed by class swap."""

from __future__ import annotations

import functools
import importlib
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import MethodType, SimpleNamespace
from typing import Any

from encore_events.loggers import get_logger
from encore_storage.clients._fsspec_calls import Calls
from encore_storage.clients._fsspec_files import Files
from encore_storage.clients._fsspec_methods import METHODS
from encore_storage.clients._fsspec_retries import Retries
from encore_storage.clients._fsspec_stores import layers_of, state_of
from encore_storage.clients._fsspec_transactions import observed_property, wrap_transaction
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import Swapper, Wrap, options_of

logger = get_logger("encore_storage")


class FsspecClient:
    """Observes fsspec's file systems, one by one or all of them."""

    def __init__(self) -> None:
        self._swapper = _FileSystemSwapper(self._wrap)
        self._transactions = Swapper(wrap_transaction)
        self._files = Files()
        self._targets: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._made: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._plain_call: Callable[..., Any] | None = None

    def accepts(self, target: object) -> bool:
        """Return True for a file system."""
        return isinstance(target, _module("spec").AbstractFileSystem)

    def observe(self, target: Any, options: Options) -> Any:
        """Observe a file system, and the file systems that it is a layer over."""
        self._targets[id(target)] = target
        self._swapper.swap(target, options)
        if options.name is not None:  # which is not the name of its layers
            options = Options(None, options.event_manager, error_text=options.error_text)
        self._observe_layers(target, options)
        return target

    def unobserve(self, target: Any) -> Any:
        """Undo `observe`."""
        self._targets.pop(id(target), None)
        self._swapper.restore(target)
        for layer in layers_of(target):
            if id(layer) not in self._targets and id(layer) not in self._made:
                self.unobserve(layer)
        return target

    def observe_library(self, options: Options) -> None:
        """Observe the file systems that are made from now on, and those that fsspec keeps."""
        spec = _module("spec")
        metaclass = getattr(spec, "_Cached", None)
        if metaclass is None:
            logger.warning("cannot observe all of fsspec: fsspec.spec._Cached is missing; observe each file system")
            return
        self.unobserve_library()
        plain_call = self._plain_call = metaclass.__call__

        @functools.wraps(plain_call)
        def call(cls: Any, *args: Any, **kwargs: Any) -> Any:
            fs = plain_call(cls, *args, **kwargs)
            self._observe_made(fs, options)
            return fs

        metaclass.__call__ = call
        for cls in [spec.AbstractFileSystem, *_subclasses(spec.AbstractFileSystem)]:
            for fs in list(vars(cls).get("_cache", {}).values()):
                self._observe_made(fs, options)

    def unobserve_library(self) -> None:
        """Undo `observe_library`."""
        if self._plain_call is not None:
            _module("spec")._Cached.__call__ = self._plain_call  # noqa: SLF001 (the hook)
            self._plain_call = None
        for fs in list(self._made.values()):
            if id(fs) not in self._targets:
                self._swapper.restore(fs)
        self._made.clear()

    def _observe_made(self, fs: Any, options: Options) -> None:
        if id(fs) not in self._made and self.accepts(fs):
            self._made[id(fs)] = fs
            if options_of(fs) is None:
                self._swapper.swap(fs, options)

    def _observe_layers(self, target: Any, options: Options) -> None:
        for layer in layers_of(target):
            if self.accepts(layer):
                if options_of(layer) is None:
                    self._swapper.swap(layer, options)
                self._observe_layers(layer, options)

    def _wrap(self, cls: Any, options: Options) -> Mapping[str, Any]:
        calls = Calls(cls, options, self._files)
        names: dict[str, Any] = {
            "transaction": observed_property(cls.transaction, calls.stores, self._transactions, options)
        }
        if cls.__getattribute__ is not object.__getattribute__:
            return names | {"__getattribute__": _getattribute(cls, calls)}
        is_wrapper = any(base.__name__ == "AsyncFileSystemWrapper" for base in cls.__mro__)
        for name in _names(cls):
            if cls.async_impl and (is_wrapper or not name.startswith("_")):
                names[name] = _Mirrored(name, cls, calls)
            else:
                names[name] = calls.method(name, cls, name)
        return names


class _FileSystemSwapper(Swapper):
    """A swapper that leaves the cache of instances to the plain class, and counts the retries of s3fs."""

    def __init__(self, wrap: Wrap) -> None:
        super().__init__(wrap)
        self._retries = Retries()

    def swap(self, target: Any, options: Options) -> None:
        """Observe the file system, and count its retries."""
        super().swap(target, options)
        self._retries.add(target)

    def restore(self, target: Any) -> None:
        """Undo `swap`."""
        super().restore(target)
        self._retries.discard(target)

    def _make(self, cls: type, options: Options) -> type:
        made = super()._make(cls, options)
        for name in ("_cache", "_pid", "_instantiation_lock"):  # set by fsspec's metaclass
            if name in vars(made):
                delattr(made, name)
        return made


class _Mirrored:
    """A method that fsspec may have replaced in the file system itself: by a sync one that calls the async one."""

    def __init__(self, name: str, cls: type, calls: Calls) -> None:
        self._name = name
        self._cls = cls
        self._method = calls.method(name, cls, name)
        self._mirror = calls.method(name, self, "_call")

    def __get__(self, fs: Any, owner: type) -> Any:
        if fs is None:  # a layer takes the method from the class; fsspec asks whether it is the default
            plain = getattr(self._cls, self._name)
            default = getattr(_module("spec").AbstractFileSystem, self._name, None)
            return plain if plain is default else self._method
        mirror = state_of(fs).get(self._name)
        if mirror is None:
            return MethodType(self._method, fs)
        return functools.wraps(mirror)(functools.partial(self._mirror, fs))

    def __set__(self, fs: Any, value: Any) -> None:
        state_of(fs)[self._name] = value

    def __delete__(self, fs: Any) -> None:
        del state_of(fs)[self._name]

    def _call(self, fs: Any, *args: Any, **kwargs: Any) -> Any:
        return state_of(fs)[self._name](*args, **kwargs)


def _getattribute(cls: Any, calls: Calls) -> Callable[[Any, str], Any]:
    """Return the `__getattribute__` for a class that has its own, as the layers that cache do."""
    observed = {"open", *METHODS, *(f"_{name}" for name in METHODS)}

    def getattribute(self_: Any, name: str) -> Any:
        attribute = cls.__getattribute__(self_, name)
        if name == "__class__":
            return cls
        if name not in observed or not callable(attribute):
            return attribute
        is_async = inspect.iscoroutinefunction(attribute) or inspect.isasyncgenfunction(attribute)
        if name.startswith("_") and not (is_async or inspect.iscoroutinefunction(getattr(cls, name, None))):
            return attribute
        plain = SimpleNamespace(call=lambda _, *args, **kwargs: attribute(*args, **kwargs))
        method = calls.method(name, plain, "call")
        return functools.wraps(attribute)(functools.partial(method, self_))

    return getattribute


def _names(cls: Any) -> Iterator[str]:
    """Yield the methods of the class that are observed."""
    default = getattr(_module("asyn").AsyncFileSystem, "_rm", None)
    for name in ("open", *METHODS):
        if callable(getattr(cls, name, None)):
            yield name
    for name in ("open_async", *(f"_{name}" for name in METHODS)):
        method = getattr(cls, name, None)
        is_async = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        if is_async and method is not default:  # fsspec asks whether the class has this one
            yield name


def _module(name: str) -> Any:
    return importlib.import_module(f"fsspec.{name}")


def _subclasses(cls: type) -> Iterator[type]:
    subclass: type
    for subclass in type.__subclasses__(cls):
        yield subclass
        yield from _subclasses(subclass)
