"""The errors of SQLAlchemy and its drivers, as events carry them."""

from __future__ import annotations

import itertools
from typing import Any

from encore_storage.clients._sqlalchemy_transaction import Transaction
from encore_storage.clients.errors import stand_in
from encore_storage.clients.program import error_in_flight
from encore_storage.clients.sql import code_of, error_type_of_driver
from encore_storage.observing.interrupts import chain_of
from encore_storage.observing.outcomes import is_cancellation

_ABORTING = ("cockroachdb", "postgresql")
"""The backends that abort a transaction with its first error."""


class Errors:
    """The errors of one dialect.

    Args:
        dialect: knows the errors of its driver.
        with_text: whether events carry the text of errors.
    """

    def __init__(self, dialect: Any, *, with_text: bool) -> None:
        self.with_text = with_text
        self._dialect = dialect

    def failure(
        self, error: BaseException, pooled: Any = None, cursor: Any = None, *, is_connecting: bool = False
    ) -> BaseException:
        """Return the error for events: a stand-in, or the error itself if it is a cancellation.

        Args:
            error: the error that the driver, SQLAlchemy or the program has raised.
            pooled: the pool's connection that it comes from, if known.
            cursor: the DBAPI cursor that it comes from, if known.
            is_connecting: True if the connection could not be made.
        """
        if is_cancellation(error):
            return error
        error = _original(error)
        is_of_driver = self._is_of_driver(error)
        code = code_of(error) if is_of_driver else None  # the arguments of others may be keys
        error_type = error_type_of_driver(error, code)
        if error_type == "other" and is_of_driver:
            is_lost = is_connecting or self._dialect.is_disconnect(error, pooled, cursor)
            error_type = "connection" if is_lost else "other"
        return stand_in(error, error_type, code=code, with_text=self.with_text)

    def failed(self, error: BaseException, transaction: Transaction | None, *place: Any) -> BaseException:
        """Return the error of a statement for events, and keep it for the end of its transaction."""
        failure = self.failure(error, *place)
        if transaction is not None:
            transaction.error = failure
            transaction.is_aborted = self._dialect.name in _ABORTING and getattr(failure, "code", None) is not None
        return failure

    def cause(self, transaction: Transaction) -> BaseException | None:
        """Return the error that makes the program roll back; if it has none, the last one of a statement.

        An error that the program was handling when the transaction began is none, and behind an error of the program
        may be one of the driver.
        """
        present = error_in_flight()
        if present is None or isinstance(present, GeneratorExit) or id(present) == transaction.handled:
            return transaction.error
        since = itertools.takewhile(lambda one: id(one) != transaction.handled, chain_of(present))
        return self.failure(next((one for one in since if self._is_of_driver(_original(one))), present))

    def _is_of_driver(self, error: BaseException) -> bool:
        return isinstance(error, getattr(self._dialect.dbapi, "Error", ()))


def _original(error: BaseException) -> BaseException:
    """Return the driver's error that an error of SQLAlchemy wraps, or the error itself."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error
