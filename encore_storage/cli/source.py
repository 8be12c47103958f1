"""The directory that a copy reads: what cannot be copied is noted, and the rest goes on."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from encore_events import BaseEventManager
from encore_storage.errors import OpenDatabaseError
from encore_storage.stores import FileSystemStore
from encore_storage.stores.filesystem.keys import is_own
from encore_storage.stores.open_databases import check_not_open

Kind = Literal["symbolic link", "special file", "empty directory", "unreadable directory", "open database", "own"]

_WORDS: dict[Kind, tuple[str, str]] = {
    "symbolic link": ("symbolic link", "symbolic links"),
    "special file": ("special file", "special files"),
    "empty directory": ("empty directory", "empty directories"),
    "unreadable directory": ("unreadable directory", "unreadable directories"),
    "open database": ("file of an open database", "files of open databases"),
    "own": ("that this command writes", "that this command writes"),
}


class Skipped(NamedTuple):
    """Something in a directory that is no value to copy.

    Attributes:
        kind: what it is.
        reason: a sentence about it, without its subject.
    """

    kind: Kind
    reason: str


class SourceDirectory(FileSystemStore):
    """A directory to copy from. Listing its keys notes what is skipped, and goes on where a directory can't be read.

    Args:
        path: the directory.
        own: files and directories that the copy itself writes; those in the source are skipped, whatever their names.
        name: what events, logs and metrics call it.
        event_manager: where it emits.

    Attributes:
        skipped: what the last listing has skipped, by path.
    """

    def __init__(self, path: Path, *, own: Sequence[Path] = (), name: str, event_manager: BaseEventManager) -> None:
        """Open the directory, which is there."""
        super().__init__(path, create=False, name=name, event_manager=event_manager)
        self.skipped: dict[str, Skipped] = {}
        self._own = own

    def _keys(self) -> Iterator[str]:
        self.skipped = {}
        own = {identity for path in self._own if (identity := _identity_at(path)) is not None}
        waiting = [("", True)]
        while waiting:
            path, is_directory = waiting.pop()
            if is_directory:
                waiting += self._listed(path, own)
            else:
                yield path

    def _listed(self, path: str, own: set[tuple[int, int]]) -> list[tuple[str, bool]]:
        """The files and directories in one directory, and which are directories; the first comes last."""
        prefix = f"{path}/" if path else ""
        try:
            with self._tree.directory(path) as fd, os.scandir(fd) as entries:
                found = [
                    (prefix + entry.name, entry.is_dir(follow_symlinks=False), _looked_at(entry)) for entry in entries
                ]
        except (FileNotFoundError, NotADirectoryError):  # gone since it was listed
            return []
        except OSError as error:
            if not path:
                raise
            self.skipped[path] = Skipped("unreadable directory", f"it cannot be read: {error.strerror}")
            return []
        if path and not found:
            self.skipped[path] = Skipped("empty directory", "it is an empty directory")
        listed = []
        for name, is_directory, status in found:
            skipped = None if is_own(name) else self._reason_to_skip(name, status, own)
            if skipped is not None:
                self.skipped[name] = skipped
            elif not is_own(name):
                listed.append((name, is_directory))
        return sorted(listed, reverse=True)

    def _reason_to_skip(self, path: str, found: os.stat_result | None, own: set[tuple[int, int]]) -> Skipped | None:
        if found is None:  # its reading will say what is wrong
            return None
        if (found.st_dev, found.st_ino) in own:
            return Skipped("own", "this command writes there")
        if stat.S_ISREG(found.st_mode):
            try:
                check_not_open(found, self._tree.path_of(path))
            except OpenDatabaseError as error:
                return Skipped("open database", str(error))
        return _NO_VALUES.get(stat.S_IFMT(found.st_mode))


_NO_VALUES = {
    stat.S_IFLNK: Skipped("symbolic link", "it is a symbolic link"),
    stat.S_IFIFO: Skipped("special file", "it is a pipe"),
    stat.S_IFSOCK: Skipped("special file", "it is a socket"),
    stat.S_IFCHR: Skipped("special file", "it is a device"),
    stat.S_IFBLK: Skipped("special file", "it is a device"),
}


def matching(skipped: Mapping[str, Skipped], pattern: str) -> dict[str, Skipped]:
    """Return what was skipped that the pattern asks for, or may ask for where it can't be read.

    >>> link, dark = Skipped("symbolic link", ""), Skipped("unreadable directory", "")
    >>> list(matching({"a/link": link, "a/dark": dark, "b": dark}, "a/d*.txt"))
    ['a/dark']
    """
    begins = re.split(r"[*?\[]", pattern, maxsplit=1)[0]

    def is_asked_for(path: str, kind: Kind) -> bool:
        if kind != "unreadable directory":
            return fnmatch.fnmatchcase(path, pattern)
        inside = f"{path}/"
        return inside.startswith(begins) or begins.startswith(inside)

    return {path: one for path, one in skipped.items() if is_asked_for(path, one.kind)}


def counted(skipped: Mapping[str, Skipped]) -> str:
    """Return how many there are of each kind.

    >>> counted(
    ...     {"a": Skipped("symbolic link", ""), "b": Skipped("symbolic link", ""), "c": Skipped("special file", "")}
    ... )
    '2 symbolic links, 1 special file'
    """
    kinds = Counter(one.kind for one in skipped.values())
    return ", ".join(f"{kinds[kind]:,} {words[kinds[kind] > 1]}" for kind, words in _WORDS.items() if kinds[kind])


def _looked_at(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _identity_at(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
