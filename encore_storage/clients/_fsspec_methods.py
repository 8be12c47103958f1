"""The methods of fsspec's file systems: the operation that each of them is, and its key, bytes and changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from encore_storage.events import Action, Direction
from encore_storage.events import Operation as OperationName
from encore_storage.observing import Operation, StoreObserver

Change = tuple[Action, str]
Snapshot = tuple[int, ...] | None


class Method(NamedTuple):
    """The operation that a method is, and the position and names of the argument that is its key."""

    operation: OperationName
    direction: Direction | None = None
    position: int = 0
    names: tuple[str, ...] = ("path",)
    is_local: bool = False
    """Whether it moves the bytes of local files."""


class Leaf(NamedTuple):
    """A method on a single file, by which others of the same file system do their work."""

    operations: tuple[OperationName, ...]
    action: Action | None
    position: int = -1
    """The position of the argument that has the bytes, or is the path of the local file that has them."""
    names: tuple[str, ...] = ()


class Work:
    """The progress of an operation that moves or changes single files.

    Attributes:
        fs: the file system.
        kind: the name of the operation.
        observer: its observer.
        files: the files that are done, with the change of each.
    """

    __slots__ = ("files", "fs", "kind", "observer")

    def __init__(self, fs: object, kind: OperationName, observer: StoreObserver) -> None:
        self.fs = fs
        self.kind = kind
        self.observer = observer
        self.files: dict[tuple[Action | None, str], None] = {}


def _named(methods: str, method: Method) -> dict[str, Method]:
    return dict.fromkeys(methods.split(), method)


METHODS: Mapping[str, Method] = {
    **_named("cat cat_file read_bytes", Method("get", "read")),
    **_named("head tail", Method("get_range", "read")),
    "read_block": Method("get_range", "read", 0, ("fn",)),
    "cat_ranges": Method("get_range", "read", 0, ("paths",)),
    **_named("get get_file download", Method("get", "read", 0, ("rpath", "path1"), is_local=True)),
    **_named("pipe pipe_file write_bytes touch", Method("set", "write")),
    **_named("put put_file upload", Method("set", "write", 1, ("rpath", "path2"), is_local=True)),
    **_named("info stat size checksum modified created ukey", Method("get_metadata")),
    "sizes": Method("get_metadata", None, 0, ("paths",)),
    **_named("exists lexists isfile isdir", Method("exists")),
    **_named("ls listdir find glob walk du disk_usage", Method("list")),
    **_named("rm rm_file delete", Method("delete")),
    **_named("copy cp cp_file", Method("copy", None, 1, ("path2",))),
    **_named("mv move rename mv_file", Method("move", None, 1, ("path2",))),
    **_named("mkdir makedir makedirs mkdirs rmdir", Method("execute")),
}
"""The observed methods, without `open`; the async ones have a leading underscore."""

LEAVES: Mapping[str, Leaf] = {
    "get_file": Leaf(("get",), None, 1, ("lpath", "path2")),
    "pipe_file": Leaf(("set",), "set", 1, ("value",)),
    "put_file": Leaf(("set",), "set", 0, ("lpath", "path1")),
    "cp_file": Leaf(("copy", "move"), "set"),
    "rm_file": Leaf(("delete", "move"), "delete"),
}
"""The methods on single files."""

_ACTIONS: Mapping[OperationName, Action] = {"set": "set", "copy": "set", "move": "set", "delete": "delete"}
_RANGED = frozenset({"cat_file", "read_bytes"})


def is_ranged(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return True if the call reads a part of a file by a method that can also read all of it."""
    if name not in _RANGED:
        return False
    return any(one is not None for one in (*args[1:3], kwargs.get("start"), kwargs.get("end")))


def argument(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, names: Iterable[str]) -> Any:
    """Return the argument at the position, or with one of the names; None if there is none."""
    if len(args) > position:
        return args[position]
    return next((kwargs[name] for name in names if name in kwargs), None)


def key_of(path: Any) -> str | None:
    """Return the key for a path: without protocol, and without host, user and query of a URL; None for several."""
    if path.__class__ is not str:
        if isinstance(path, os.PathLike):  # an ABC, which takes a while to ask
            path = os.fspath(path)
        if not isinstance(path, str):
            return None
    if "://" not in path:
        return path
    protocol, _, rest = path.partition("://")
    if protocol.startswith(("http", "webdav")) or "@" in rest.partition("/")[0] or "://" in rest:
        return urlsplit(path).path or "/"
    return rest


def count_result(operation: Operation, method: Method, name: str, result: Any) -> None:
    """Count the bytes or items that a method has returned."""
    if method.direction == "read":
        if isinstance(result, list | tuple | dict):
            sizes = [size_of(value) for value in _each(result) if not isinstance(value, BaseException)]
            operation.items = len(sizes)
            operation.count_to(sum(sizes))
        else:
            operation.count_to(size_of(result))
    elif isinstance(result, list | tuple | dict | set) and (method.operation == "list" or name == "sizes"):
        operation.items = len(result)


def snapshot(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Snapshot:
    """Return the state of the local file before the method `name` writes it; None for other methods."""
    return _state_of(argument(args, kwargs, *LEAVES[name][2:])) if name == "get_file" else None


def count_file(
    operation: Operation, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], before: Snapshot
) -> None:
    """Count a single file that the operation has moved or changed by the method `name`."""
    leaf, work = LEAVES.get(name), operation.work
    if leaf is None or not isinstance(work, Work) or work.kind not in leaf.operations:
        return
    source = argument(args, kwargs, leaf.position, leaf.names) if leaf.names else None
    if name != "pipe_file" and isinstance(source, str | os.PathLike) and Path(source).is_dir():
        return
    key = key_of(argument(args, kwargs, *METHODS[name][2:4]))
    if key is None or (leaf.action, key) in work.files:  # the latter: one such method has called another
        return
    work.files[leaf.action, key] = None
    if name == "get_file":
        count_received(operation, name, args, kwargs, before)
    elif leaf.names:
        operation.count(size_of(source) if name == "pipe_file" else local_size(source))


def count_received(
    operation: Operation, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], before: Snapshot
) -> None:
    """Count the bytes that a method has written to a local file, also if it has failed since."""
    after = snapshot(name, args, kwargs)
    if after is not None and after != before:
        operation.count(after[0] - (before[0] if before is not None and len(before) == 1 else 0))


def count_arguments(operation: Operation, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Count what the arguments say, for a file system that did not call its methods on single files."""
    work, method = operation.work, METHODS[name]
    if not any(action != "delete" or method.operation == "delete" for action, _ in work.files):
        _count_paths(operation, method, args, kwargs)
    if method.operation == "move" and not any(action == "delete" for action, _ in work.files):
        work.files["delete", key_of(argument(args, kwargs, 0, ("path1",)))] = None


def _count_paths(operation: Operation, method: Method, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    path = argument(args, kwargs, method.position, method.names)
    if method.is_local:
        operation.count(sum(map(local_size, _each(argument(args, kwargs, 1 - method.position, ("lpath",))))))
    elif method.operation == "set":
        value = path if isinstance(path, dict) else argument(args, kwargs, 1, ("value",))
        operation.count(sum(map(size_of, _each(value))))
    action = _ACTIONS.get(method.operation)
    keys = path if isinstance(path, list | tuple | dict | set) else [path]
    operation.work.files |= {(action, key): None for key in map(key_of, keys) if key is not None}


def changes_of(operation: Operation) -> list[Change]:
    """Return the changes of keys that the operation has made, and count its files if there are several."""
    files = operation.work.files
    if len(files) > 1 and operation.work.kind != "move":
        operation.items = len(files)
    return [(action, key) for action, key in files if action is not None and key is not None]


def size_of(value: Any) -> int:
    """Return the number of bytes of a bytes-like value or text; 0 for anything else."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value.encode())
    try:
        return memoryview(value).nbytes
    except TypeError:
        return 0


def local_size(path: Any) -> int:
    """Return the size of a local file; 0 if there is none, and for a file object."""
    try:
        status = Path(path).stat()
    except (OSError, TypeError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _state_of(file: Any) -> Snapshot:
    """Return the size, time and number of a local file, or the position of a file object."""
    try:
        if not isinstance(file, str | os.PathLike):
            return (file.tell(),)
        status = Path(file).stat()
    except (OSError, ValueError, AttributeError):
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _each(values: Any) -> Iterable[Any]:
    if isinstance(values, dict):
        return list(values.values())
    return values if isinstance(values, list | tuple | set) else [values]
