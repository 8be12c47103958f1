"""A database in the memory of the process."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator

from encore_storage.stores._sqlite_connection import Connection, Place, Row
from encore_storage.stores._sqlite_database import Database

MEMORY = ":memory:"


class MemoryDatabase(Database):
    """A database in memory, of at most 1 GiB: one connection writes, and one reads.

    SQLite lets nobody begin to read there while another connection is in a transaction. So the connection that
    reads begins before each transaction, and ends just before its commit.

    Args:
        store: the name of the store.
    """

    def __init__(self, store: str) -> None:
        """Make an empty database."""
        uri = f"file:/encore-{uuid.uuid4()}?vfs=memdb&"
        super().__init__(Place(store, MEMORY, uri, "memory", (), 0))
        # Reentrant, since a garbage collection inside it may run a finalizer that reads.
        self._lock = threading.RLock()
        self._reader = Connection(self.place)

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""
        with self._lock:
            return self._reader.run(statement, *parameters)

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        with self._let_go():
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back, unless SQLite has."""
        with self._let_go():
            super().rollback()

    def close(self) -> None:
        """Close both connections: the database is gone."""
        self._reader.close()
        self._writer.close()

    def _begin(self) -> None:
        with self._lock:
            self._reader.run("BEGIN")
            self._reader.run("SELECT 1 FROM entry LIMIT 1")
            super()._begin()

    @contextlib.contextmanager
    def _let_go(self) -> Iterator[None]:
        """A block in which nobody reads."""
        with self._lock:
            if self._reader.in_transaction:
                self._reader.run("ROLLBACK")
            yield
