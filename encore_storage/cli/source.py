"""A source directory that skips, and notes, files that cannot be copied."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from encore_events import BaseEventManager
from encore_storage.errors import OpenDatabaseError
from encore_storage.stores import FileSystemStore
from encore_storage.stores.filesystem.keys import is_own
from encore_storage.stores.open_databases import check_not_open

_PLURALS = {
    "symbolic link": "symbolic links",
    "special file": "special files",
    "empty directory": "empty directories",
    "unreadable directory": "unreadable directories",
    "file of an open database": "files of open databases",
    "file of this command": "files of this command",
}


class Skipped(NamedTuple):
    """A path in a directory that is not copied.

    Attributes:
        kind: a key of `_PLURALS`.
        reason: why it is not copied.
    """

    kind: str
    reason: str


class SourceDirectory(FileSystemStore):
    """A directory to copy from. Listing its keys skips, and notes, paths that are not ordinary readable files.

    Args:
        own: files and directories that the copy itself writes; they are skipped, also under other names.

    Attributes:
        skipped: what the last listing skipped, by path.
    """

    def __init__(self, path: Path, *, own: Sequence[Path] = (), name: str, event_manager: BaseEventManager) -> None:
        """Open the directory, which must exist."""
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
        """Return the entries of one directory, last first, each with whether it is a directory."""
        prefix = f"{path}/" if path else ""
        try:
            with self._tree.directory(path) as fd, os.scandir(fd) as entries:
                found = [
                    (prefix + entry.name, entry.is_dir(follow_symlinks=False), _status(entry)) for entry in entries
                ]
        except (FileNotFoundError, NotADirectoryError):  # deleted since it was listed
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
            if is_own(name):
                continue
            skipped = self._reason_to_skip(name, status, own)
            if skipped is None:
                listed.append((name, is_directory))
            else:
                self.skipped[name] = skipped
        return sorted(listed, reverse=True)

    def _reason_to_skip(self, path: str, status: os.stat_result | None, own: set[tuple[int, int]]) -> Skipped | None:
        if status is None:  # reading it will raise the error
            return None
        if (status.st_dev, status.st_ino) in own:
            return Skipped("file of this command", "this command writes there")
        if stat.S_ISREG(status.st_mode):
            try:
                check_not_open(status, self._tree.path_of(path))
            except OpenDatabaseError as error:
                return Skipped("file of an open database", str(error))
        return _NOT_VALUES.get(stat.S_IFMT(status.st_mode))


_NOT_VALUES = {
    stat.S_IFLNK: Skipped("symbolic link", "it is a symbolic link"),
    stat.S_IFIFO: Skipped("special file", "it is a pipe"),
    stat.S_IFSOCK: Skipped("special file", "it is a socket"),
    stat.S_IFCHR: Skipped("special file", "it is a device"),
    stat.S_IFBLK: Skipped("special file", "it is a device"),
}


def select_skipped(skipped: Mapping[str, Skipped], pattern: str) -> dict[str, Skipped]:
    """Return the skipped paths that match, and the unreadable directories that may contain matches.

    >>> link, dark = Skipped("symbolic link", ""), Skipped("unreadable directory", "")
    >>> list(select_skipped({"a/link": link, "a/dark": dark, "b": dark}, "a/d*.txt"))
    ['a/dark']
    """
    prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]

    def matches(path: str, kind: str) -> bool:
        if kind != "unreadable directory":
            return fnmatch.fnmatchcase(path, pattern)
        inside = f"{path}/"
        return inside.startswith(prefix) or prefix.startswith(inside)

    return {path: one for path, one in skipped.items() if matches(path, one.kind)}


def count_by_kind(skipped: Mapping[str, Skipped]) -> str:
    """Return the number of skipped paths of each kind, as text.

    >>> count_by_kind(
    ...     {"a": Skipped("symbolic link", ""), "b": Skipped("symbolic link", ""), "c": Skipped("special file", "")}
    ... )
    '2 symbolic links, 1 special file'
    """
    kinds = Counter(one.kind for one in skipped.values())
    counts = ((kinds[kind], kind, plural) for kind, plural in _PLURALS.items())
    return ", ".join(f"{count:,} {kind if count == 1 else plural}" for count, kind, plural in counts if count)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _identity_at(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
