"""The state of a transaction of SQLAlchemy, and of its savepoints."""

from __future__ import annotations

import sys

from encore_storage.events import TransactionOutcome
from encore_storage.observing import ObservedTransaction


class Transaction:
    """A transaction of a connection, or a savepoint.

    Args:
        observed: emits its start, now, and its end.

    Attributes:
        savepoints: the open savepoints in it by their names, the innermost last.
        has_written: True if a statement has written.
        error: the last error of a statement, for events.
        is_aborted: True if the database refuses further statements, and rolls back on COMMIT.
        handled: the id of the exception that was being handled when it began.
        xid: the id of a two-phase transaction.
    """

    __slots__ = ("__weakref__", "error", "handled", "has_written", "is_aborted", "observed", "savepoints", "xid")

    def __init__(self, observed: ObservedTransaction) -> None:
        self.observed = observed
        self.savepoints: dict[str, Transaction] = {}
        self.has_written = self.is_aborted = False
        self.error: BaseException | None = None
        self.handled = id(sys.exception())
        self.xid: object = None
        observed.start()

    @property
    def innermost(self) -> Transaction:
        """The innermost open savepoint, or the transaction."""
        return next(reversed(self.savepoints.values())) if self.savepoints else self

    def take_savepoint(self, name: str) -> Transaction | None:
        """Remove and return a savepoint, with those in it; None for one that is not observed."""
        if name not in self.savepoints:
            return None
        names = list(self.savepoints)
        inner = {one: self.savepoints.pop(one) for one in names[names.index(name) + 1 :]}
        savepoint = self.savepoints.pop(name)
        savepoint.savepoints = inner
        return savepoint

    def absorb(self) -> None:
        """Take over what its savepoints have done and not undone."""
        for savepoint in self.savepoints.values():
            savepoint.absorb()
            self.has_written = self.has_written or savepoint.has_written
            self.is_aborted = self.is_aborted or savepoint.is_aborted
            self.error = savepoint.error or self.error

    def end(self, outcome: TransactionOutcome, error: BaseException | None, commit_duration: float | None) -> None:
        """Emit the end, and before that the ends of its savepoints; a forked child leaves them to its parent."""
        if self.savepoints:
            for savepoint in reversed(self.savepoints.values()):
                savepoint.end(outcome, error, None)
            self.savepoints = {}
        self.error = None
        if self.observed.is_open:
            self.observed.end(outcome, error, commit_duration=commit_duration)
