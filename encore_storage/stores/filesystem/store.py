"""A store in a directory of ordinary files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, cast

from encore_events import forks
from encore_events.abstract import BaseEventManager
from encore_storage.errors import ConflictError, InvalidKeyError, KeyNotFoundError, StoreError, StoreFullError
from encore_storage.metadata import Metadata
from encore_storage.stores.abstract import AbstractStore
from encore_storage.stores.filesystem.directory_lock import DirectoryLock
from encore_storage.stores.filesystem.file_chunks import FileChunks
from encore_storage.stores.filesystem.fingerprint_files import FingerprintFiles
from encore_storage.stores.filesystem.keys import check_key
from encore_storage.stores.filesystem.locked_files import close_inherited
from encore_storage.stores.filesystem.metadata_files import MetadataFiles, is_same, name_of
from encore_storage.stores.filesystem.ownership import Original
from encore_storage.stores.filesystem.scratch import Scratch, ScratchFile
from encore_storage.stores.filesystem.system import warn
from encore_storage.stores.filesystem.tidying import Tidying, settle_left
from encore_storage.stores.filesystem.tree import Token, Tree
from encore_storage.stores.fingerprints import Fingerprint, file_fingerprint, settled_file
from encore_storage.stores.local_files import AnyPath
from encore_storage.stores.open_databases import check_not_open, is_any_open
from encore_storage.transactions.writing import Change, Write
from encore_storage.value import Entry


class FileSystemStore(AbstractStore):
    """Values in ordinary files: the key is the path below a directory, with '/' between the names.

    >>> import tempfile
    >>> from encore_events import EventManager
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     store = FileSystemStore(directory, event_manager=EventManager())
    ...     store.from_bytes("letters/greeting", b"hello")
    ...     with open(f"{directory}/letters/greeting") as file:
    ...         file.read()
    'hello'

    It works on any directory, of whatever other programs put there. The files are the values; their metadata,
    and what is being written, is kept under `.encore/` in the directory, which is made by the first write.
    Threads and processes may share the directory, through one store or several.

    - A file is replaced as a whole or not at all, and its metadata with it, though the process be killed or
      interrupted. What a killed process was in the middle of is settled when the directory is opened again.
    - A change that has taken effect is never an error. What could not be tidied up behind it is logged as a
      warning (logger `encore_storage`), and is understood by all readers.
    - Owner, group, permissions, extended attributes and access control lists stay, but for setuid and setgid. What
      takes more rights than the process has is lost, with one warning. Metadata is no more readable than its value.
    - A key is deleted with its metadata; a file that another program removes leaves its metadata behind for the
      case that the program puts it back, until the key is set anew.
    - A database that a SqliteStore of this process has open is listed, but neither opened, replaced nor deleted.
    - Symbolic links, pipes, sockets and devices are no values, and are neither followed nor replaced. Where a
      directory stands there can be no file, so `a` and `a/b` can't both be keys. Directories are made as they
      are needed, and removed when the last file in them is deleted.
    - Whether `a` and `A` are two keys is for the file system to say, as for all programs.
    - It has no transactions: `transaction()` gives a block that keeps nothing together.

    Args:
        path: the directory.
        durable: whether a write is told as done only once it would outlive a loss of power.
        create: whether to make the directory, and those above it, if it is missing.
        name: what events, logs and metrics call it.
        event_manager: where it emits; by default, `get_event_manager()`.
        timeout: how many seconds a thread waits for another thread's write; None for as long as it takes.

    Attributes:
        path: the directory, from the root and without symbolic links.

    Raises:
        StoreConnectionError: the directory is missing, or is none.
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
        """Open the directory, and finish or remove what killed processes have left half done."""
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._tree = Tree(os.fspath(path), durable=durable)
        self._scratch = Scratch(self._tree)
        self._metadata = MetadataFiles(self._tree, self._scratch)
        self._fingerprints = FingerprintFiles(self._tree, self._scratch)
        self._create = create
        self.path = self._tree.root
        forks.renew_in_child(self, close_inherited)
        self._connect()

    def info(self) -> dict[str, Any]:
        """Return what kind of store it is: name, backend, transactional, and whether it is readonly now."""
        return {**super().info(), "readonly": not self._tree.is_writable()}

    def _connect(self) -> None:
        if self._create:
            self._tree.make()
        self._tree.check()
        self._scratch.sweep()
        settle_left(DirectoryLock(self._tree, self.name), self._metadata, self.path)

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
        while lock.unsettled and lock.is_held:
            self._settle(lock, lock.unsettled.pop())  # taken first: it is tried once, and the lock released at last
        lock.release()

    def _settle(self, lock: DirectoryLock, key: str) -> None:
        """Decide which metadata holds of a key whose change was broken off."""
        name = name_of(key)
        try:
            MetadataFiles.of(lock.tree).settle(name)
            lock.unmark(name)
        except (OSError, StoreError) as error:
            warn("the change of %r was broken off, and its metadata not tidied up: %s", self._tree.path_of(key), error)
        lock.tree.prune(key.rpartition("/")[0])

    def _lookup(self, key: str) -> Entry:
        while True:
            found = self._found_file(key)
            token = Token.of(found)
            metadata = self._metadata.load(key, token)
            if Token.of(self._found_file(key)) == token:  # else the metadata may be that of another file
                created = min(getattr(found, "st_birthtime", found.st_ctime), found.st_mtime)
                return Entry(found.st_size, metadata, created, found.st_mtime, token)

    def _open(self, key: str, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        replaced = ConflictError(key, self.name)
        try:
            file = self._tree.open(key, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise replaced from error
        return FileChunks(file, entry.token, start, end - start, replaced)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        if chunks is not None:
            return self._put_bytes(key, chunks, metadata)
        with self._writing() as write:
            tree = _lock_of(write).tree
            original = self._original(tree, key)
            if original is None:
                return self._put_bytes(key, (), metadata)
            files, token = MetadataFiles.of(tree), Token.of(original.found)
            kept = files.settled(key, original) if metadata is None else metadata
            change = Change(is_new=False, metadata=kept)
            write.expect(change, lambda: _is_so(lambda: is_same(self._metadata.load(key, token), kept)))
            files.save(key, kept, original)
            return change

    def _remove(self, key: str) -> Metadata:
        with self._writing() as write:
            lock = _lock_of(write)
            entry = self._lookup(key)
            original = self._usable(lock.tree, key)
            if original is None:
                raise KeyNotFoundError(key, self.name)
            files = MetadataFiles.of(lock.tree)
            lock.unsettled.append(key)
            if entry.metadata:
                with contextlib.suppress(StoreFullError):  # to delete is how to make room
                    lock.mark(name_of(key))
                    files.announce(key, entry.metadata, {}, None, original)
            write.expect(
                Change(is_new=False, metadata=entry.metadata), lambda: _is_so(lambda: self._is_gone(key, entry))
            )
            try:
                lock.tree.unlink(key)
            except FileNotFoundError as error:
                raise KeyNotFoundError(key, self.name) from error
            with self._tidying(key, "its metadata is left, and ignored"):
                files.forget(key, original)
                if entry.metadata:
                    lock.unmark(name_of(key))
            self._fingerprints.remove(key)
            lock.tree.prune(key.rpartition("/")[0])
            lock.unsettled.remove(key)
            return entry.metadata

    def _keys(self) -> Iterator[str]:
        return self._tree.files()

    def _put_bytes(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None] = lambda: None,
    ) -> Change:
        original = self._usable(self._tree, key)
        with self._scratch.for_value(original) as file:
            if original is not None:
                self._scratch.take_over(file, key, original)
            for chunk in chunks:
                file.write(chunk)
            made = file.finish()
            with self._writing() as write:
                now = self._usable(_lock_of(write).tree, key, original)
                if now is not None and now is not original:  # changed meanwhile
                    self._scratch.take_over(file, key, now)
                    made = file.found()
                change = self._replace(write, key, file, made, now, metadata)
                self._keep_copied(key, Token.of(made), fingerprint())
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
        """Put file and metadata in their place; a kill at any moment leaves both as they were, or both new."""
        lock = _lock_of(write)
        files, token = MetadataFiles.of(lock.tree), Token.of(made)
        if old is None:
            files.forget(key)  # of a file that another program has removed
        before = {} if old is None else files.settled(key, old)
        after = before if metadata is None else metadata
        changes = not is_same(before, after)
        lock.unsettled.append(key)
        if changes:
            lock.mark(name_of(key))
            files.announce(key, before, after, token, Original(made) if old is None else old)
        write.expect(Change(old is None, after), lambda: _is_so(lambda: self._stands(key, token)))
        file.move(lock.tree, key)
        if changes:
            with self._tidying(key, "what its metadata was before is left beside it, and ignored"):
                files.save(key, after, Original(made, None if old is None else old.attributes))
                lock.unmark(name_of(key))
        lock.unsettled.remove(key)
        return Change(old is None, after)

    def _tidying(self, key: str, left: str) -> Tidying:
        return Tidying(self._tree.path_of(key), left)

    def _stands(self, key: str, token: Token) -> bool:
        found = self._tree.look(key)
        return found is not None and Token.of(found) == token

    def _is_gone(self, key: str, entry: Entry) -> bool:
        try:
            return not self._stands(key, entry.token)
        except NotADirectoryError:
            return True

    def _found_file(self, key: str) -> os.stat_result:
        try:
            found = self._tree.look(key)
        except NotADirectoryError:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode):
            raise KeyNotFoundError(key, self.name)
        return found

    def _original(self, tree: Tree, key: str, known: Original | None = None) -> Original | None:
        """Return the file that stands under the key, or None if one can be put there; anything else is refused."""
        try:
            original = tree.examine(key, known)
        except NotADirectoryError as error:
            raise InvalidKeyError(key, "what stands above it is not a directory") from error
        if original is None or stat.S_ISREG(original.found.st_mode):
            return original
        kind = _KINDS.get(stat.S_IFMT(original.found.st_mode), "a special file")
        raise InvalidKeyError(key, f"{kind} stands in its place")

    def _fingerprint(self, key: str) -> Fingerprint | None:
        found = settled_file(lambda: self._found_file(key))
        return None if found is None else file_fingerprint(found)

    def _put_copy(
        self,
        key: str,
        chunks: Iterable[bytes],
        metadata: Metadata | None,
        fingerprint: Callable[[], Fingerprint | None],
    ) -> Change:
        return self._put_bytes(key, chunks, metadata, fingerprint)

    def _keep_fingerprint(self, key: str, own: Fingerprint, fingerprint: Fingerprint | None) -> None:
        with self._writing():
            if fingerprint is None:
                self._fingerprints.remove(key)
            else:
                self._fingerprints.save(key, own, fingerprint)

    def _kept_fingerprint(self, key: str) -> Fingerprint | None:
        return self._fingerprints.load(key, file_fingerprint(self._found_file(key)))

    def _keep_copied(self, key: str, token: Token, fingerprint: Fingerprint | None) -> None:
        """Keep a fingerprint with the file that was just put there, unless it is another by now."""
        if fingerprint is None:
            return
        with contextlib.suppress(OSError):  # the value is there, and the next copy compares it
            found = self._tree.look(key)
            if found is not None and Token.of(found) == token:
                self._fingerprints.save(key, file_fingerprint(found), fingerprint)

    def _usable(self, tree: Tree, key: str, known: Original | None = None) -> Original | None:
        """Return the same, but refuse a database that is open. Raises OpenDatabaseError."""
        original = self._original(tree, key, known)
        if original is not None and is_any_open():
            check_not_open(original.found, self._tree.path_of(key))
        return original


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}


def _lock_of(write: Write) -> DirectoryLock:
    return cast("DirectoryLock", write.mark)


def _is_so(question: Callable[[], bool]) -> bool:
    """Return what the file system answers, or False if it does not."""
    try:
        return question()
    except (OSError, StoreError):
        return False
