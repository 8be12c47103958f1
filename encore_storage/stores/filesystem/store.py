"""A store in a directory of ordinary files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_storage.errors import InvalidKeyError, KeyNotFoundError, StoreError, StoreFullError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.filesystem.cleanup import Cleanup, resolve_interrupted
from encore_storage.stores.filesystem.directory_lock import DirectoryLock
from encore_storage.stores.filesystem.file_chunks import FileChunks
from encore_storage.stores.filesystem.fingerprint_files import FingerprintFiles
from encore_storage.stores.filesystem.keys import check_key, digest_of
from encore_storage.stores.filesystem.locked_files import close_inherited
from encore_storage.stores.filesystem.metadata_files import DIRECTORY, MetadataFiles, is_same
from encore_storage.stores.filesystem.ownership import Original
from encore_storage.stores.filesystem.scratch import Scratch, ScratchFile
from encore_storage.stores.filesystem.system import warn
from encore_storage.stores.filesystem.tree import OpenTree, Token, Tree
from encore_storage.stores.fingerprints import Fingerprint, file_fingerprint, settled_file
from encore_storage.stores.items import Item, Items
from encore_storage.stores.local_files import AnyPath
from encore_storage.stores.open_databases import check_not_open, is_any_open
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry, ListedKey


class FileSystemStore(AbstractStore):
    """A store in a directory of ordinary files: a key is a relative path, with '/' between the names.

    >>> import tempfile
    >>> from encore_events import EventManager
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = FileSystemStore(directory, event_manager=EventManager())
    ...     store.from_bytes("letters/greeting", b"hello")
    ...     with open(f"{directory}/letters/greeting") as file:
    ...         file.read()
    'hello'

    It works on any directory, with the files of other programs. The files are the values. Metadata and temporary files
    are kept under `.encore/`, which the first write creates. Threads and processes may share the directory, through one
    store or several. There are no transactions: `transaction()` returns a block that does nothing.

    - A file and its metadata are replaced together or not at all, even if the process is killed or interrupted.
      A change that a kill has left unfinished is resolved when the directory is opened again.
    - A change that has taken effect never raises. Failed cleanup is logged as a warning (logger `encore_storage`), and
      does not affect readers.
    - A replaced file keeps its owner, group, permissions, extended attributes and access control list, but not setuid
      and setgid. Without the rights to keep them, the store logs one warning. Metadata is no more readable than its
      value.
    - Deleting a key deletes its metadata. If another program removes a file, its metadata stays until the key is set
      anew, in case the program puts the file back.
    - A database that a SqliteStore of this process has open is listed, but not opened, replaced or deleted.
    - Symbolic links, pipes, sockets and devices are not values, and are neither followed nor replaced. `a` and `a/b`
      cannot both be keys. Directories are created on demand, and removed with their last file.
    - The file system decides whether `a` and `A` are two keys.

    Args:
        path: the directory.
        durable: make each write survive a power loss before it returns.
        create: create the directory, and its parents, if it does not exist.
        name: the store's name in events, logs and metrics; by default, 'filesystem'.
        event_manager: where the store emits events; by default, `get_event_manager()`.
        timeout: seconds to wait for another thread's write; None waits without limit.

    Attributes:
        path: the absolute path of the directory, without symbolic links.

    Raises:
        StoreConnectionError: the directory does not exist, or is not a directory.
        TypeError: `event_manager` is not an event manager.
    """

    backend: ClassVar[str] = "filesystem"

    def __init__(
        self,
        path: AnyPath,
        *,
        durable: bool = False,
        create: bool = True,
        name: str | None = None,
        event_manager: BaseEventManager | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._tree = Tree(os.fspath(path), durable=durable)
        self._scratch = Scratch(self._tree)
        self._metadata = MetadataFiles(self._tree, self._scratch)
        self._fingerprints = FingerprintFiles(self._tree)
        self._create = create
        self.path = self._tree.root
        forks.renew_in_child(self, close_inherited)
        self._connect()

    def _arguments(self) -> dict[str, Any]:
        return {"path": self.path, "durable": self._tree.durable, "create": self._create}

    def info(self) -> dict[str, Any]:
        """Return the store's name, backend, `transactional` and `readonly`."""
        return {**super().info(), "readonly": not self._tree.is_writable()}

    def _connect(self) -> None:
        if self._create:
            self._tree.make()
        self._tree.check()
        self._scratch.sweep()
        resolve_interrupted(DirectoryLock(self._tree, self.name), self._metadata, self.path)

    def _check_key(self, key: str) -> None:
        check_key(key, self.path)

    def _begin_writing(self, write: Write) -> None:
        if isinstance(write.part_of, Write):
            write.mark = write.part_of.mark
            return
        write.mark = lock = DirectoryLock(self._tree, self.name)
        lock.acquire()

    def _release_writing(self, write: Write) -> None:
        lock = write.mark
        if not isinstance(lock, DirectoryLock):
            return
        while lock.unresolved and lock.is_held:
            self._resolve(lock, lock.unresolved.pop())  # popped first, so that a failure is not retried for ever
        lock.release()

    def _resolve(self, lock: DirectoryLock, key: str) -> None:
        """Resolve the metadata of a key after an interrupted change."""
        name = digest_of(key)
        try:
            MetadataFiles.of(lock.tree).resolve(name)
            lock.unmark(name)
        except (OSError, StoreError) as error:
            warn("a change of %r was interrupted, and not resolved in its metadata: %s", self._tree.path_of(key), error)
        lock.tree.prune(_folder_of(key))

    def _lookup(self, key: str) -> Entry:
        with self._tree.opened() as tree:
            entry = self._entry_in(tree, key)
        if entry is None:
            raise KeyNotFoundError(key, self.name)
        return entry

    def _entry_in(self, tree: OpenTree, key: str) -> Entry | None:
        try:
            with tree.directory(_folder_of(key)) as parent:
                found = tree.status_in(parent, key)
                while found is not None and stat.S_ISREG(found.st_mode):
                    token = Token.of(found)
                    metadata = self._metadata.load(key, token, tree)
                    again = tree.status_in(parent, key)
                    if again is not None and Token.of(again) == token:  # else the metadata may belong to another file
                        return Entry(found.st_size, metadata, _created(found), found.st_mtime, token)
                    found = again
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        return FileChunks(self._tree, key, self.name, entry.token, start, end - start)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        if chunks is not None:
            return self._put_bytes(key, chunks, metadata)
        with self._writing() as write:
            tree = _lock_of(write).tree
            original = self._file(tree, key)
            if original is None:
                return self._put_bytes(key, (), metadata)
            files, token = MetadataFiles.of(tree), Token.of(original.found)
            kept = files.load_resolved(key, original) if metadata is None else metadata
            change = Change(is_new=False, metadata=kept)
            write.expect(change, lambda: _holds(lambda: self._has_metadata(key, token, kept)))
            files.save(key, kept, original)
            return change

    def _remove(self, key: str) -> Metadata:
        with self._writing() as write:
            lock = _lock_of(write)
            entry = self._lookup(key)
            original = self._replaceable(lock.tree, key)
            if original is None:
                raise KeyNotFoundError(key, self.name)
            files = MetadataFiles.of(lock.tree)
            lock.unresolved.append(key)
            if entry.metadata:
                with contextlib.suppress(StoreFullError):  # deleting frees space
                    lock.mark(digest_of(key))
                    files.announce(key, entry.metadata, {}, None, original)
            write.expect(
                Change(is_new=False, metadata=entry.metadata), lambda: _holds(lambda: self._is_gone(key, entry))
            )
            try:
                lock.tree.unlink(key)
            except FileNotFoundError as error:
                raise KeyNotFoundError(key, self.name) from error
            with Cleanup(self._tree.path_of(key), "its metadata was not removed, and is ignored"):
                files.remove(key, original)
                if entry.metadata:
                    lock.unmark(digest_of(key))
            self._fingerprints.remove(key)
            lock.tree.prune(_folder_of(key))
            lock.unresolved.remove(key)
            return entry.metadata

    def _keys(self) -> Iterator[str]:
        return self._tree.files()

    def _items(self) -> Iterator[Item]:
        return Items(self._scan_items)

    def _scan_items(self, wanted: Mapping[str, Any]) -> Iterator[Item]:
        keys = iter(dict.fromkeys(self._keys()))
        while (found := self._next_item(wanted, keys)) is not None:
            yield found

    def _next_item(self, wanted: Mapping[str, Any], keys: Iterator[str]) -> Item | None:
        """Return the next item that may have what is wanted; of keys that don't, only the metadata is read."""
        with self._tree.opened() as tree:
            if wanted and tree.is_missing(DIRECTORY):
                return None
            for key in keys:
                if not wanted or self._metadata.may_have(wanted, key, tree):
                    entry = self._entry_in(tree, key)
                    if entry is not None:  # else deleted since
                        return key, entry.metadata
        return None

    def _listing(self, prefix: str) -> Iterator[ListedKey]:
        for key in list(self._tree.files(prefix)):
            with contextlib.suppress(KeyNotFoundError):  # deleted since
                found = self._status(key)
                yield ListedKey(key, found.st_size, _created(found), found.st_mtime)

    def _put_bytes(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None] = lambda: None,
    ) -> Change:
        with self._tree.opened() as opened:
            original = self._replaceable(opened, key)
            with self._scratch.for_value(original, opened) as file:
                if original is not None:
                    self._scratch.copy_access(file, key, original)
                for chunk in chunks:
                    file.write(chunk)
                made = file.finish()
                with self._writing() as write:
                    tree = _lock_of(write).tree
                    now = self._replaceable(tree, key, original)
                    if now is not None and now is not original:  # changed meanwhile
                        self._scratch.copy_access(file, key, now)
                        made = file.found()
                    change = self._replace(write, key, file, made, now, metadata)
                    _keep_copied(tree, key, Token.of(made), fingerprint())
                    return change

    def _replace(
        self,
        write: Write,
        key: str,
        file: ScratchFile,
        made: os.stat_result,
        old: Original | None,
        metadata: Metadata | None,
    ) -> Change:
        """Move the file to its place and save its metadata. A kill at any moment leaves both old or both new."""
        lock = _lock_of(write)
        files, token = MetadataFiles.of(lock.tree), Token.of(made)
        if old is None:
            files.remove(key)  # the metadata of a file that another program has removed
        before = {} if old is None else files.load_resolved(key, old)
        after = before if metadata is None else metadata
        changes = not is_same(before, after)
        lock.unresolved.append(key)
        if changes:
            lock.mark(digest_of(key))
            files.announce(key, before, after, token, Original(made) if old is None else old)
        write.expect(Change(old is None, after), lambda: _holds(lambda: self._has_token(key, token)))
        file.move(lock.tree, key)
        if changes:
            with Cleanup(self._tree.path_of(key), "its old metadata was not removed, and is ignored"):
                files.save(key, after, Original(made, None if old is None else old.attributes))
                lock.unmark(digest_of(key))
        lock.unresolved.remove(key)
        return Change(old is None, after)

    def _has_token(self, key: str, token: Token) -> bool:
        found = self._tree.status(key)
        return found is not None and Token.of(found) == token

    def _has_metadata(self, key: str, token: Token, metadata: Metadata) -> bool:
        with self._tree.opened() as tree:
            return is_same(self._metadata.load(key, token, tree), metadata)

    def _is_gone(self, key: str, entry: Entry) -> bool:
        try:
            return not self._has_token(key, entry.token)
        except NotADirectoryError:
            return True

    def _status(self, key: str) -> os.stat_result:
        try:
            found = self._tree.status(key)
        except NotADirectoryError:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode):
            raise KeyNotFoundError(key, self.name)
        return found

    def _file(self, tree: Tree, key: str, known: Original | None = None) -> Original | None:
        """Return the file under the key, or None if one can be created there. Raises InvalidKeyError."""
        try:
            original = tree.examine(key, known)
        except NotADirectoryError as error:
            raise InvalidKeyError(key, "one of its parents is not a directory") from error
        if original is None or stat.S_ISREG(original.found.st_mode):
            return original
        kind = _KINDS.get(stat.S_IFMT(original.found.st_mode), "a special file")
        raise InvalidKeyError(key, f"{kind} exists at its path")

    def _fingerprint(self, key: str) -> Fingerprint | None:
        found = settled_file(lambda: self._status(key))
        return None if found is None else file_fingerprint(found)

    _put_copy = _put_bytes

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing() as write, contextlib.suppress(OSError):  # without it, the next copy compares bytes
            tree = _lock_of(write).tree
            original = None if fingerprint is None else tree.examine(key)
            if fingerprint is None or original is None:
                self._fingerprints.remove(key)
            else:
                FingerprintFiles(tree).save(key, own, fingerprint, original)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        return self._fingerprints.load(key, file_fingerprint(self._status(key)))

    def _replaceable(self, tree: Tree, key: str, known: Original | None = None) -> Original | None:
        """Return the file under the key, as `_file` does. Raises OpenDatabaseError if it is an open database."""
        original = self._file(tree, key, known)
        if original is not None and is_any_open():
            check_not_open(original.found, self._tree.path_of(key))
        return original


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]


def _created(found: os.stat_result) -> float:
    created: float = min(getattr(found, "st_birthtime", found.st_ctime), found.st_mtime)
    return created


def _lock_of(write: Write) -> DirectoryLock:
    return cast("DirectoryLock", write.mark)


def _keep_copied(tree: Tree, key: str, token: Token, fingerprint: Fingerprint | None) -> None:
    """Keep a fingerprint with the file that was just placed, unless it has been replaced since."""
    if fingerprint is None:
        return
    with contextlib.suppress(OSError):  # without it, the next copy compares bytes
        original = tree.examine(key)
        if original is not None and Token.of(original.found) == token:
            FingerprintFiles(tree).save(key, file_fingerprint(original.found), fingerprint, original)


def _holds(condition: Callable[[], bool]) -> bool:
    """Return whether a condition holds, or False if the file system fails to answer."""
    try:
        return condition()
    except (OSError, StoreError):
        return False
