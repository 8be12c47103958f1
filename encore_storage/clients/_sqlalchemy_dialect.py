"""The methods that replace those of a dialect of SQLAlchemy, and emit its statements and transactions."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from encore_events.loggers import get_logger
from encore_storage.clients._sqlalchemy_errors import Errors
from encore_storage.clients._sqlalchemy_transaction import Transaction
from encore_storage.clients.program import place
from encore_storage.clients.sql import verb_of
from encore_storage.events import TransactionOutcome
from encore_storage.observing import Operation, StoreObserver

logger = get_logger("encore_storage")

NOTES = "encore_notes"
"""The execution option of a connection with the notes of its transactions."""

_METHODS = (
    *("connect", "initialize", "do_close", "do_terminate", "set_isolation_level", "set_connection_execution_options"),
    *("do_execute", "do_executemany", "do_execute_no_params", "_deliver_insertmanyvalues_batches"),
    *("do_begin", "do_commit", "do_rollback", "do_savepoint", "do_rollback_to_savepoint", "do_release_savepoint"),
    *("do_begin_twophase", "do_prepare_twophase", "do_commit_twophase", "do_rollback_twophase"),
)
"""The methods that are replaced."""

_FRAMES_OF_BEGIN = 7
_FRAMES_OF_SAVEPOINT = 4
"""The numbers of frames from `place` that are never the program's; to skip them saves time."""

_OBSERVED = "_encore_observed"  # of a dialect
_TRANSACTION = "_encore_transaction"  # of a pool's connection, which lives as long as the checkout


class ObservedDialect:
    """Replaces methods of a dialect with its own, in the dialect's `__dict__`.

    In its methods, `connection` is what SQLAlchemy passes: a DBAPI connection, the pool's proxy of one (`pooled`), or
    a Connection.

    Attributes:
        observer: emits the statements and transactions.
        is_retired: True if only transactions that have begun are still observed.
        plain: the methods that were replaced.
    """

    def __init__(self, dialect: Any, observer: StoreObserver, *, error_text: bool) -> None:
        self.observer = observer
        self.is_retired = False
        self.plain = SimpleNamespace()
        self._dialect = dialect
        self._errors = Errors(dialect, with_text=error_text)
        self._replaced: dict[str, Any] = {}
        # Both by ids, not as attributes of the objects: asking for a `__dict__` slows all later accesses of an object.
        self._quiet = set[int]()  # connections that execute statements of SQLAlchemy's own
        self._batches: dict[int, Operation] = {}  # of execution contexts that execute one INSERT as several statements
        self._open: dict[int, weakref.ref[Transaction]] = {}  # by the ids of DBAPI connections
        self._autocommits: dict[int, bool] = {}
        self._autocommits_by_default = getattr(dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT"
        for name in _METHODS:
            plain = getattr(dialect, name, None)
            if plain is None:
                logger.warning("%r has no method %s: not all of its statements are observed", dialect, name)
                continue
            if name in vars(dialect):
                self._replaced[name] = plain
            setattr(self.plain, name, plain)
            setattr(dialect, name, getattr(self, name))
        setattr(dialect, _OBSERVED, self)

    def renew(self, observer: StoreObserver, *, error_text: bool) -> None:
        """Emit with another observer from now on."""
        self.observer = observer
        self._errors.with_text = error_text
        self.is_retired = False

    @staticmethod
    def of(dialect: Any) -> ObservedDialect | None:
        """Return what observes a dialect, or None."""
        observed: ObservedDialect | None = dialect.__dict__.get(_OBSERVED)
        return observed

    def retire(self) -> None:
        """Observe no further statements and transactions; put the plain methods back once none is open."""
        self.is_retired = True
        if any(reference() is not None for reference in self._open.values()):
            return
        attributes = vars(self._dialect)
        for name in (*_METHODS, _OBSERVED):
            value = attributes.get(name)
            if value is self or getattr(value, "__self__", None) is self:  # else somebody has replaced it since
                del attributes[name]
        attributes.update(self._replaced)

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect to the database, as one operation."""
        operation = self._start("execute", "CONNECT", None)
        try:
            connection = self.plain.connect(*args, **kwargs)
        except BaseException as error:
            operation.finish(self._errors.failure(error, is_connecting=True))
            raise
        self._autocommits.pop(id(connection), None)
        operation.finish()
        return connection

    def pool_timed_out(self, error: BaseException, waited: float) -> None:
        """Emit an operation that has waited for a connection of the pool in vain."""
        operation = self._start("execute", "CONNECT", None)
        operation.backdate(waited)
        operation.finish(self._errors.failure(error))

    def initialize(self, connection: Any) -> Any:
        """Ask the first connection for properties of the database; these statements are SQLAlchemy's own."""
        with self._quietly(connection):
            return self.plain.initialize(connection)

    def do_close(self, connection: Any) -> Any:
        """Close a DBAPI connection, which ends its transaction."""
        return self._close(self.plain.do_close, connection)

    def do_terminate(self, connection: Any) -> Any:
        """Close a DBAPI connection without waiting."""
        return self._close(self.plain.do_terminate, connection)

    def set_isolation_level(self, connection: Any, level: Any) -> Any:
        """Set the level of a DBAPI connection; one with AUTOCOMMIT has no transactions."""
        result = self.plain.set_isolation_level(connection, level)
        self._autocommits[id(connection)] = level == "AUTOCOMMIT"
        return result

    def set_connection_execution_options(self, connection: Any, options: Mapping[str, Any]) -> Any:
        """Set options of a connection, the notes of its transactions among them."""
        if NOTES in options:
            connection.connection.__dict__[NOTES] = options[NOTES]
        return self.plain.set_connection_execution_options(connection, options)

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> Any:
        """Execute a statement, as one operation."""
        return self._execute(self.plain.do_execute, context, cursor, statement, parameters)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> Any:
        """Execute a statement for several sets of parameters, as one operation."""
        return self._execute(self.plain.do_executemany, context, cursor, statement, parameters)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> Any:
        """Execute a statement whose text is not searched for parameters."""
        return self._execute(self.plain.do_execute_no_params, context, cursor, statement)

    def _deliver_insertmanyvalues_batches(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, sizes: Any, context: Any
    ) -> Iterator[Any]:
        """Yield the statements of one INSERT of many rows, which are one operation."""
        batches = self.plain._deliver_insertmanyvalues_batches(  # noqa: SLF001 (the method that this one replaces)
            connection, cursor, statement, parameters, sizes, context
        )
        root = self._root_of(connection)
        if self.is_retired and root is None:
            yield from batches
            return
        operation = self._batches[id(context)] = self._start("set", "INSERT", root and root.innermost)
        rows = 0
        try:
            for batch in batches:
                yield batch
                rows += batch.current_batch_size
        except BaseException as error:
            operation.finish(self._errors.failure(error))  # unless a statement has failed and ended it
            raise
        finally:
            del self._batches[id(context)]
        operation.items = rows
        operation.finish()

    def _execute(self, execute: Callable[..., Any], context: Any, cursor: Any, statement: str, *parameters: Any) -> Any:
        connection = None if context is None else context.root_connection
        if connection is None or (self._quiet and id(connection) in self._quiet):
            return execute(cursor, statement, *parameters, context)
        transaction = connection.connection.__dict__.get(_TRANSACTION)
        if transaction is None:
            if self.is_retired:
                return execute(cursor, statement, *parameters, context)
        elif transaction.savepoints:
            transaction = transaction.innermost
        word, name, writes = verb_of(statement)
        batches = self._batches.get(id(context)) if self._batches else None
        operation = self._start(name, word, transaction) if batches is None else batches
        try:
            result = execute(cursor, statement, *parameters, context)
        except BaseException as error:
            operation.finish(self._errors.failed(error, transaction, connection.connection, cursor))
            raise
        if transaction is not None:
            transaction.is_aborted = False
            if writes:
                transaction.has_written = True
        if batches is None:
            if writes:
                operation.items = _rows_written(cursor, context)
            operation.finish()
        return result

    def _start(self, name: str, verb: str, transaction: Transaction | None) -> Operation:
        observed = None if transaction is None else transaction.observed
        operation = self.observer.make_operation(name, None, None, -1, verb, None, observed)
        operation.start()
        return operation

    def do_begin(self, pooled: Any) -> Any:
        """Begin a transaction; most drivers do nothing before the first statement."""
        result = self.plain.do_begin(pooled)
        self._begin(pooled)
        return result

    def do_commit(self, pooled: Any) -> Any:
        """Commit the transaction."""
        transaction = self._take(pooled)
        if transaction is None:
            return self.plain.do_commit(pooled)
        return self._commit(transaction, self.plain.do_commit, pooled)

    def do_rollback(self, pooled: Any) -> Any:
        """Roll back the transaction; a pool does so as well, without one."""
        transaction = self._take(pooled)
        if transaction is None:
            return self.plain.do_rollback(pooled)
        return self._roll_back(transaction, self.plain.do_rollback, pooled)

    def do_begin_twophase(self, connection: Any, xid: Any) -> Any:
        """Begin a two-phase transaction."""
        with self._quietly(connection):
            result = self.plain.do_begin_twophase(connection, xid)
        transaction = self._root_of(connection) or self._begin(connection.connection)
        if transaction is not None:
            transaction.xid = xid
        return result

    def do_prepare_twophase(self, connection: Any, xid: Any) -> Any:
        """Prepare the commit of a two-phase transaction."""
        return self._control(connection, self.plain.do_prepare_twophase, xid)

    def do_commit_twophase(self, connection: Any, xid: Any, *args: Any, **kwargs: Any) -> Any:
        """Commit a two-phase transaction; one that is recovered was begun elsewhere, and is not observed."""
        transaction = self._take_twophase(connection, xid)
        with self._quietly(connection):
            return self._commit(transaction, self.plain.do_commit_twophase, connection, xid, *args, **kwargs)

    def do_rollback_twophase(self, connection: Any, xid: Any, *args: Any, **kwargs: Any) -> Any:
        """Roll back a two-phase transaction."""
        transaction = self._take_twophase(connection, xid)
        with self._quietly(connection):
            return self._roll_back(transaction, self.plain.do_rollback_twophase, connection, xid, *args, **kwargs)

    def do_savepoint(self, connection: Any, name: str) -> Any:
        """Begin a savepoint, a transaction of its own."""
        result = self._control(connection, self.plain.do_savepoint, name)
        root = self._root_of(connection)
        if root is not None:
            outer, notes = root.innermost.observed, place(_FRAMES_OF_SAVEPOINT)
            root.savepoints[name] = Transaction(outer.observer.transaction(notes, parent_id=outer.transaction_id))
        return result

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> Any:
        """Roll back to a savepoint, which ends it and the savepoints in it."""
        root = self._root_of(connection)
        savepoint = None if root is None else root.take_savepoint(name)
        with self._quietly(connection):
            return self._roll_back(savepoint, self.plain.do_rollback_to_savepoint, connection, name)

    def do_release_savepoint(self, connection: Any, name: str) -> Any:
        """Release a savepoint: what it has written is now part of the outer transaction."""
        root = self._root_of(connection)
        savepoint = None if root is None else root.take_savepoint(name)
        with self._quietly(connection):
            result = self._commit(savepoint, self.plain.do_release_savepoint, connection, name)
        if root is not None and savepoint is not None and savepoint.has_written:
            root.innermost.has_written = True
        return result

    def _root_of(self, connection: Any) -> Transaction | None:
        root: Transaction | None = connection.connection.__dict__.get(_TRANSACTION)
        return root

    def _take(self, pooled: Any) -> Transaction | None:
        """Remove and return the transaction of a pool's connection."""
        try:
            transaction: Transaction | None = pooled.__dict__.pop(_TRANSACTION, None)
        except AttributeError:  # SQLAlchemy rolls back the first connection before the pool has it
            return None
        if transaction is not None:
            self._open.pop(id(pooled.dbapi_connection), None)
        return transaction

    def _take_twophase(self, connection: Any, xid: Any) -> Transaction | None:
        root = self._root_of(connection)
        return None if root is None or root.xid != xid else self._take(connection.connection)

    def _begin(self, pooled: Any) -> Transaction | None:
        key = id(pooled.dbapi_connection)
        if self.is_retired or self._autocommits.get(key, self._autocommits_by_default):
            return None
        attributes = pooled.__dict__
        transaction = Transaction(self.observer.transaction(attributes.get(NOTES) or place(_FRAMES_OF_BEGIN)))
        attributes[_TRANSACTION] = transaction
        self._open[key] = weakref.ref(transaction)
        return transaction

    def _commit(self, transaction: Transaction | None, commit: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if transaction is None:
            return commit(*args, **kwargs)
        if transaction.savepoints:
            transaction.absorb()
        started = time.monotonic()
        try:
            result = commit(*args, **kwargs)
        except BaseException as error:
            self._end(transaction, "commit_failed", self._errors.failure(error), time.monotonic() - started)
            raise
        if transaction.is_aborted:
            self._end(transaction, "rolled_back", transaction.error)
        else:
            self._end(transaction, "committed", None, time.monotonic() - started)
        return result

    def _roll_back(self, transaction: Transaction | None, undo: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if transaction is None:
            return undo(*args, **kwargs)
        if transaction.savepoints:
            transaction.absorb()
        cause = self._errors.cause(transaction)
        try:
            result = undo(*args, **kwargs)
        except BaseException as error:
            self._end(transaction, "rollback_failed", self._errors.failure(error))
            raise
        is_closed = cause is None and not transaction.has_written
        self._end(transaction, "closed" if is_closed else "rolled_back", cause)
        return result

    def _control(self, connection: Any, control: Callable[..., Any], *args: Any) -> Any:
        """Call a method that executes statements of SQLAlchemy's own."""
        root = self._root_of(connection)
        with self._quietly(connection):
            try:
                return control(connection, *args)
            except BaseException as error:
                self._errors.failed(error, root and root.innermost)
                raise

    def _close(self, close: Callable[[Any], Any], connection: Any) -> Any:
        key = id(connection)
        self._autocommits.pop(key, None)
        reference = self._open.pop(key, None)
        return self._roll_back(None if reference is None else reference(), close, connection)

    @contextmanager
    def _quietly(self, connection: Any) -> Iterator[None]:
        """Return a block in which the statements of a connection are no operations."""
        key = id(connection)
        was_quiet = key in self._quiet
        self._quiet.add(key)
        try:
            yield
        finally:
            if not was_quiet:
                self._quiet.discard(key)

    def _end(
        self,
        transaction: Transaction,
        outcome: TransactionOutcome,
        error: BaseException | None,
        commit_duration: float | None = None,
    ) -> None:
        transaction.end(outcome, error, commit_duration)
        if self.is_retired:
            self.retire()


def _rows_written(cursor: Any, context: Any) -> int | None:
    """Return the number of rows that a statement has written; None if the driver does not know."""
    rows: int = cursor.rowcount
    if context.dialect.name == "sqlite" and cursor.description is not None:
        return None  # SQLite counts the rows of RETURNING only when they have been fetched
    return rows if rows >= 0 else None
