"""A database in the memory of the process."""

from __future__ import annotations

import uuid

from encore_storage.stores.sqlite.connection import Connection, Place, Row
from encore_storage.stores.sqlite.database import Database
from encore_storage.transactions.turn import Turn

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
        self._turn = Turn(store, None)  # no lock: an interrupt could leave one taken
        self._reader = Connection(self.place)

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""
        with self._turn.taken():
            return self._reader.run(statement, *parameters)

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        with self._turn.taken():
            self._let_go()
            super().commit()

    def rollback(self) -> None:
        """Roll the transaction back, unless SQLite has."""
        with self._turn.taken():
            self._let_go()
            super().rollback()

    def close(self) -> None:
        """Close both connections: the database is gone."""
        self._reader.close()
        self._writer.close()

    def _begin(self) -> None:
        with self._turn.taken():
            self._reader.run("BEGIN")
            self._reader.run("SELECT 1 FROM entry LIMIT 1")
            super()._begin()

    def _let_go(self) -> None:
        """End what the reader sees of the time before; nobody else reads meanwhile."""
        if self._reader.in_transaction:
            self._reader.run("ROLLBACK")
