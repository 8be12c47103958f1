"""A database in the memory of the process."""

from __future__ import annotations

import uuid

from encore_storage.stores.sqlite.connection import DatabaseConfig, DatabaseConnection, Row
from encore_storage.stores.sqlite.database import Database
from encore_storage.transactions.turn import Turn

MEMORY = ":memory:"


class MemoryDatabase(Database):
    """An empty database in memory of at most 1 GiB, with one connection for writing and one for reading.

    SQLite lets nobody begin to read it while another connection is in a transaction. So the reading connection begins
    before each transaction, and ends just before its commit.
    """

    def __init__(self, store: str) -> None:
        uri = f"file:/encore-{uuid.uuid4()}?vfs=memdb&"
        super().__init__(DatabaseConfig(store, MEMORY, uri, "memory", (), 0))
        self._turn = Turn(store, None)  # not a lock: an interrupt could leave one acquired
        self._reader = DatabaseConnection(self.config)

    def read(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement that reads committed data."""
        with self._turn.taken():
            return self._reader.run(statement, *parameters)

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        with self._turn.taken():
            self._end_reading()
            super().commit()

    def rollback(self) -> None:
        """Roll back the transaction, unless SQLite has."""
        with self._turn.taken():
            self._end_reading()
            super().rollback()

    def compact(self) -> None:
        """Rewrite the database without the space of deleted values."""
        with self._turn.taken():
            super().compact()

    def close(self) -> None:
        """Close both connections, which destroys the database."""
        self._reader.close()
        self._writer.close()

    def _begin(self) -> None:
        with self._turn.taken():
            self._reader.run("BEGIN")
            self._reader.run("SELECT 1 FROM entry LIMIT 1")
            super()._begin()

    def _end_reading(self) -> None:
        """End the reader's transaction. The caller has the turn, so nobody reads meanwhile."""
        if self._reader.in_transaction:
            self._reader.run("ROLLBACK")
