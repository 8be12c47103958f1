"""A store in a directory of ordinary files."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from encore_events.abstract import BaseEventManager
from encore_storage.core import Change
from encore_storage.errors import ConflictError, InvalidKeyError, KeyNotFoundError
from encore_storage.fingerprints import Fingerprint, file_fingerprint, settled_file
from encore_storage.local_files import AnyPath
from encore_storage.metadata import Metadata
from encore_storage.store import AbstractStore
from encore_storage.stores._file_chunks import FileChunks
from encore_storage.stores._fingerprint_files import FingerprintFiles
from encore_storage.stores._keys import check_key
from encore_storage.stores._metadata_files import MetadataFiles
from encore_storage.stores._scratch import Scratch, ScratchFile
from encore_storage.stores._tree import Token, Tree
from encore_storage.transactions import TransactionState
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

    - A file is replaced as a whole or not at all, and its metadata with it, though the process be killed.
      Permissions stay. A key is deleted with its metadata; a file that another program removes leaves its
      metadata behind for the case that the program puts it back, until the key is set anew.
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
        """Open the directory, and remove what killed processes have left half written."""
        super().__init__(name=name, event_manager=event_manager, timeout=timeout)
        self._tree = Tree(os.fspath(path), durable=durable)
        self._scratch = Scratch(self._tree)
        self._metadata = MetadataFiles(self._tree, self._scratch)
        self._fingerprints = FingerprintFiles(self._tree, self._scratch)
        self._create = create
        self.path = self._tree.root
        self._connect()

    def _connect(self) -> None:
        if self._create:
            self._tree.make()
        self._tree.check()
        self._scratch.sweep()

    def _check_key(self, key: str) -> None:
        check_key(key, self.path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        turn = TransactionState.of(self).turn
        if turn.is_mine:
            yield
            return
        with turn, self._tree.locked():
            yield

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
            fd = self._tree.open(key, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise replaced from error
        return FileChunks(fd, entry.token, start, end - start, replaced)

    def _put(self, key: str, chunks: Iterable[bytes] | None, metadata: Metadata | None) -> Change:
        if chunks is not None:
            return self._put_bytes(key, chunks, metadata)
        with self._writing():
            old = self._replaceable(key)
            if old is None:
                return self._put_bytes(key, (), metadata)
            kept = self._metadata.settled(key, Token.of(old)) if metadata is None else metadata
            self._metadata.save(key, kept)
            return Change(is_new=False, metadata=kept)

    def _remove(self, key: str) -> Metadata:
        with self._writing():
            entry = self._lookup(key)
            self._tree.unlink(key)
            self._metadata.remove(key)
            self._fingerprints.remove(key)
            self._tree.prune(key.rpartition("/")[0])
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
        old = self._replaceable(key)
        with self._scratch.file(None if old is None else old.st_mode & 0o777) as file:
            for chunk in chunks:
                file.write(chunk)
            token = file.finish()
            with self._writing():
                change = self._replace(key, file, token, metadata)
                self._keep_copied(key, token, fingerprint())
                return change

    def _replace(self, key: str, file: ScratchFile, token: Token, metadata: Metadata | None) -> Change:
        """Put file and metadata in their place; a kill at any moment leaves both as they were, or both new."""
        old = self._replaceable(key)
        if old is None:
            self._metadata.remove(key)  # of a file that another program has removed
        before = {} if old is None else self._metadata.settled(key, Token.of(old))
        after = before if metadata is None else metadata
        changes = json.dumps(before) != json.dumps(after)
        if changes:
            self._metadata.announce(key, before, after, token)
        try:
            file.move(key)
        except BaseException:
            self._tree.prune(key.rpartition("/")[0])
            raise
        if changes:
            self._metadata.save(key, after)
        return Change(old is None, after)

    def _found_file(self, key: str) -> os.stat_result:
        try:
            found = self._replaceable(key)
        except InvalidKeyError:
            found = None
        if found is None:
            raise KeyNotFoundError(key, self.name)
        return found

    def _replaceable(self, key: str) -> os.stat_result | None:
        """The file that stands under the key, or None if one can be put there; anything else is refused."""
        try:
            found = self._tree.look(key)
        except NotADirectoryError as error:
            raise InvalidKeyError(key, "what stands above it is not a directory") from error
        if found is None or stat.S_ISREG(found.st_mode):
            return found
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
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


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}
