"""An SQLite database in which one connection writes while others read committed data."""

from __future__ import annotations

from abc import ABC, abstractmethod

from encore_events import forks
from encore_storage.errors import StoreError, TransactionAbortedError
from encore_storage.stores.sqlite.connection import DatabaseConfig, DatabaseConnection, Row


class Database(ABC):
    """A database of a store, created if it does not exist. Only the holder of the store's turn may write.

    Attributes:
        config: its location and settings.
        process: the process that opened it.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self.process = forks.this_process()
        self.config = config
        self._writer = DatabaseConnection(config, create=True)

    @property
    def in_transaction(self) -> bool:
        """True if a transaction is open. SQLite itself may end one, as it does when the disk is full."""
        return self._writer.in_transaction

    @abstractmethod
    def read(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement that reads committed data."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def write(self, statement: str, *parameters: object) -> list[Row]:
        """Return all rows of a statement in the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        if not self._writer.in_transaction:
            raise TransactionAbortedError(self.config.store)
        return self._writer.run(statement, *parameters)

    def begin(self) -> None:
        """Begin a transaction, after rolling back one that an interrupt has left open."""
        self.rollback()
        try:
            self._begin()
        except BaseException:
            self.rollback()
            raise

    def commit(self) -> None:
        """Commit the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        self.write("COMMIT")

    def rollback(self) -> None:
        """Roll back the transaction, unless SQLite has."""
        if self._writer.in_transaction:
            self._writer.run("ROLLBACK")

    def compact(self) -> None:
        """Rewrite the database without the space of deleted values."""
        self.begin()  # waits for other processes, and reopens a connection that cannot write
        self.rollback()
        self._writer.run("VACUUM")

    def save(self, savepoint: str) -> None:
        """Set a savepoint in the transaction."""
        self.write(f"SAVEPOINT {savepoint}")

    def release(self, savepoint: str) -> None:
        """Release a savepoint: what was written since is committed with the transaction."""
        self.write(f"RELEASE {savepoint}")

    def undo(self, savepoint: str) -> bool:
        """Roll back to a savepoint and release it; return False if it was released before."""
        if not self._writer.in_transaction:
            return False
        try:
            self._writer.run(f"ROLLBACK TO {savepoint}")
        except StoreError as error:
            if "no such savepoint" in str(error):
                return False
            raise
        self._writer.run(f"RELEASE {savepoint}")
        return True

    def _begin(self) -> None:
        self._writer.begin()
        self._writer.run("DELETE FROM entry WHERE 0")  # BEGIN alone succeeds on a file that is not writable
