"""A database of SQLite, of which one connection writes, and others read what is committed meanwhile."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod

from encore_events import forks
from encore_storage.errors import StoreError, TransactionAbortedError
from encore_storage.stores.sqlite.connection import Connection, Place, Row


class Database(ABC):
    """What a store needs of a database. Only who has the store's turn may write.

    Args:
        place: where it is.

    Attributes:
        place: where it is.
        process: the process that opened it.
    """

    def __init__(self, place: Place) -> None:
        """Open it, or make it."""
        self.process = forks.this_process()
        self.place = place
        self._savepoints = itertools.count(1)
        self._writer = Connection(place, create=True)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite may have ended it by itself, as it does when a disk is full."""
        return self._writer.in_transaction

    @abstractmethod
    def read(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement, of what is committed."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""

    def write(self, statement: str, *parameters: object) -> list[Row]:
        """All rows of one statement inside the transaction. Raises TransactionAbortedError if SQLite has ended it."""
        if not self._writer.in_transaction:
            raise TransactionAbortedError(self.place.store)
        return self._writer.run(statement, *parameters)

    def begin(self) -> None:
        """Begin a transaction, after what an interrupt may have left of another."""
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
        """Roll the transaction back, unless SQLite has."""
        if self._writer.in_transaction:
            self._writer.run("ROLLBACK")

    def has_committed(self) -> bool:
        """Return whether a commit that an interrupt has cut off took effect."""
        return not self._writer.in_transaction

    def new_savepoint(self) -> str:
        """Return the name of a savepoint that there is none of yet."""
        return f"encore_{next(self._savepoints)}"

    def save(self, savepoint: str) -> None:
        """Begin a block inside the transaction that may be undone by itself."""
        self.write(f"SAVEPOINT {savepoint}")

    def release(self, savepoint: str) -> None:
        """Keep what was written in the block, if the transaction is committed."""
        self.write(f"RELEASE {savepoint}")

    def undo(self, savepoint: str) -> bool:
        """Undo what was written in the block, and return whether there was such a block: not if it was released."""
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
        self._writer.run("DELETE FROM entry WHERE 0")  # BEGIN alone succeeds with a file that can't be written to
