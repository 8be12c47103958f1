"""A database of SQLite, of which one connection writes, and others read what is committed meanwhile."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from encore_storage.errors import TransactionAbortedError, TransactionError
from encore_storage.stores._sqlite_connection import Connection, Place, Row


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
        self.process = os.getpid()
        self.place = place
        self._is_in_block = False
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
        """Begin a transaction, after what an interrupt may have left of another.

        Raises:
            TransactionError: inside a block of `transaction()`: it would be told as committed before it is.
        """
        if self._is_in_block:
            raise TransactionError(
                f"no transaction can begin while a value for store {self.place.store!r} is being written: "
                "begin it around that"
            )
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

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A block that is committed, or rolled back if it raises."""
        self._is_in_block = False  # whatever an interrupt has left
        try:
            self.begin()
            self._is_in_block = True
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise
        finally:
            self._is_in_block = False

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block inside a transaction of which nothing stays if it raises."""
        self.write("SAVEPOINT encore")
        try:
            yield
        except BaseException:
            if self._writer.in_transaction:
                self.write("ROLLBACK TO encore")
                self.write("RELEASE encore")
            raise
        self.write("RELEASE encore")

    def _begin(self) -> None:
        self._writer.run("BEGIN IMMEDIATE")
        self._writer.run("DELETE FROM entry WHERE 0")  # BEGIN alone succeeds with a file that can't be written to
