"""SQLAlchemy: the statements and transactions of engines.

Methods of an engine's dialect are replaced. All DBAPI calls pass through them, after the program's own listeners, and
engines made by `execution_options()` share them. SQLAlchemy's events were not used: its commit event is emitted before
the commit, and any listener adds 18 µs to a transaction.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from encore_storage.clients.client import Options
from encore_storage.clients.errors import stand_in
from encore_storage.clients.program import error_in_flight, place
from encore_storage.clients.sql import code_of, error_type_of_driver, verb_of
from encore_storage.events import TransactionOutcome
from encore_storage.observing import ObservedTransaction, Operation, StoreObserver
from encore_storage.observing.interrupts import chain_of
from encore_storage.observing.outcomes import is_cancellation

logger = logging.getLogger("encore_storage")

_METHODS = [
    "connect",
    "initialize",
    "do_close",
    "do_terminate",
    "set_isolation_level",
    "set_connection_execution_options",
    "do_execute",
    "do_executemany",
    "do_execute_no_params",
    "_deliver_insertmanyvalues_batches",
    "do_begin",
    "do_commit",
    "do_rollback",
    "do_savepoint",
    "do_rollback_to_savepoint",
    "do_release_savepoint",
    "do_begin_twophase",
    "do_prepare_twophase",
    "do_commit_twophase",
    "do_rollback_twophase",
]
"""The methods of a dialect that are replaced."""

_ABORTING = ("cockroachdb", "postgresql")
"""The backends that abort a transaction with its first error."""

NOTES = "encore_notes"
"""The execution option of a connection with the notes of its transactions."""

_OBSERVED = "_encore_observed"  # of a dialect
_TRANSACTION = "_encore_transaction"  # of a pool's connection: it lives as long as the checkout
_QUIET = "_encore_quiet"  # of a connection that executes statements of SQLAlchemy's own
_BATCHES = "_encore_batches"  # of an execution context that executes one INSERT as several statements


class SqlalchemyClient:
    """Observes engines and async engines, or all engines."""

    def __init__(self) -> None:
        self._library: Options | None = None
        self._dialects: weakref.WeakSet[Any] = weakref.WeakSet()
        self._dialects_of_library: weakref.WeakSet[Any] = weakref.WeakSet()
        self._plain: Any = None

    def accepts(self, target: object) -> bool:
        """Return True for an engine or async engine."""
        return _engine_of(target) is not None

    def observe(self, target: Any, options: Options) -> Any:
        """Observe the engine, and all engines that share its dialect."""
        engine = _engine_of(target)
        self._observe(engine, options)
        self._dialects_of_library.discard(engine.dialect)
        return target

    def unobserve(self, target: Any) -> Any:
        """Undo `observe`; transactions that have begun are observed to their ends."""
        engine = _engine_of(target)
        self._unobserve(engine.dialect)
        return target

    def observe_library(self, options: Options) -> None:
        """Observe each engine when it connects or takes a connection from its pool."""
        self._library = options
        for dialect in list(self._dialects_of_library):
            self._unobserve(dialect)
        self._replace_raw_connection()

    def unobserve_library(self) -> None:
        """Undo `observe_library`; engines that were observed themselves still are."""
        self._library = None
        for dialect in list(self._dialects_of_library):
            self._unobserve(dialect)
        self._restore_raw_connection()

    def _observe(self, engine: Any, options: Options) -> None:
        dialect = engine.dialect
        observer = options.observer(_store_name(engine.url, dialect.name), dialect.name)
        known = _observed(dialect)
        if known is None:
            _ObservedDialect(dialect, observer, error_text=options.error_text)
        else:
            known.observer, known.error_text, known.is_retired = observer, options.error_text, False
        self._dialects.add(dialect)
        self._replace_raw_connection()

    def _unobserve(self, dialect: Any) -> None:
        self._dialects.discard(dialect)
        self._dialects_of_library.discard(dialect)
        known = _observed(dialect)
        if known is not None:
            known.retire()
        self._restore_raw_connection()

    def _replace_raw_connection(self) -> None:
        """Have engines found when they connect, and timeouts of their pools observed."""
        engine_class = sys.modules["sqlalchemy"].Engine
        if self._plain is not None:
            return
        plain = self._plain = engine_class.raw_connection

        @functools.wraps(plain)
        def raw_connection(engine: Any) -> Any:
            observed = _observed(engine.dialect)
            if observed is None and self._library is not None:
                self._observe(engine, self._library)
                self._dialects_of_library.add(engine.dialect)
                observed = _observed(engine.dialect)
            if observed is None:
                return plain(engine)
            started = time.monotonic()
            try:
                return plain(engine)
            except sys.modules["sqlalchemy"].exc.TimeoutError as error:
                observed.pool_timed_out(error, time.monotonic() - started)
                raise

        engine_class.raw_connection = raw_connection

    def _restore_raw_connection(self) -> None:
        if self._plain is None or self._library is not None or len(self._dialects):
            return
        engine_class = sys.modules["sqlalchemy"].Engine
        if engine_class.raw_connection.__dict__.get("__wrapped__") is self._plain:  # not replaced by somebody else
            engine_class.raw_connection = self._plain
            self._plain = None


class _Transaction:
    """A transaction of a connection, or a savepoint.

    Attributes:
        observed: emits its start and end.
        savepoints: the open savepoints in it by their names, the innermost last.
        has_written: True if a statement has written.
        error: a stand-in for the last error of a statement.
        is_aborted: True if PostgreSQL refuses further statements, and rolls back on COMMIT.
        handled: the id of the exception that was being handled when it began.
        xid: the id of a two-phase transaction.
    """

    __slots__ = ("__weakref__", "error", "handled", "has_written", "is_aborted", "observed", "savepoints", "xid")

    def __init__(self, observed: ObservedTransaction) -> None:
        self.observed = observed
        self.savepoints: dict[str, _Transaction] = {}
        self.has_written = self.is_aborted = False
        self.error: BaseException | None = None
        self.handled = id(sys.exception())
        self.xid: object = None
        observed.start()

    @property
    def innermost(self) -> _Transaction:
        """The innermost open savepoint, or the transaction."""
        return next(reversed(self.savepoints.values())) if self.savepoints else self

    def take_savepoint(self, name: str) -> _Transaction | None:
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
        for savepoint in reversed(self.savepoints.values()):
            savepoint.end(outcome, error, None)
        if self.observed.is_open:
            self.observed.end(outcome, error, commit_duration=commit_duration)
        self.savepoints, self.error = {}, None


class _ObservedDialect:
    """The methods that replace those of a dialect, in its `__dict__`; `plain` has the bound methods of its class."""

    def __init__(self, dialect: Any, observer: StoreObserver, *, error_text: bool) -> None:
        self.dialect = dialect
        self.observer = observer
        self.error_text = error_text
        self.is_retired = False
        self.plain = SimpleNamespace()
        self._replaced: dict[str, Any] = {}
        self._open: weakref.WeakValueDictionary[int, _Transaction] = weakref.WeakValueDictionary()
        self._autocommits: dict[int, bool] = {}
        self._autocommits_by_default = getattr(dialect, "_on_connect_isolation_level", None) == "AUTOCOMMIT"
        for name in _METHODS:
            plain = getattr(dialect, name, None)
            if plain is None:
                logger.warning("%s has no method %r: not all of its statements are observed", dialect, name)
                continue
            setattr(self.plain, name, plain)
            if name in vars(dialect):
                self._replaced[name] = plain
            setattr(dialect, name, getattr(self, name))
        setattr(dialect, _OBSERVED, self)

    def retire(self) -> None:
        """Observe no more statements and transactions; put the plain methods back once all transactions have ended."""
        self.is_retired = True
        if self._open:
            return
        attributes = vars(self.dialect)
        for name in [*_METHODS, _OBSERVED]:
            value = attributes.get(name)
            if value is self or getattr(value, "__self__", None) is self:
                del attributes[name]
        attributes.update(self._replaced)

    # Connections

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect to the database, as one operation."""
        operation = self._start("execute", "CONNECT", None)
        try:
            connection = self.plain.connect(*args, **kwargs)
        except BaseException as error:
            operation.finish(self._failure(error))
            raise
        self._autocommits.pop(id(connection), None)
        operation.finish()
        return connection

    def pool_timed_out(self, error: BaseException, waited: float) -> None:
        """Emit an operation that has waited for a connection of the pool in vain."""
        operation = self._start("execute", "CONNECT", None)
        operation.backdate(waited)
        operation.finish(self._failure(error))

    def initialize(self, connection: Any) -> Any:
        """Ask the first connection for properties of the database; these statements are SQLAlchemy's own."""
        with _quiet(connection):
            return self.plain.initialize(connection)

    def do_close(self, connection: Any) -> Any:
        """Close a DBAPI connection, which ends its transaction."""
        return self._close(self.plain.do_close, connection)

    def do_terminate(self, connection: Any) -> Any:
        """Close a DBAPI connection without waiting."""
        return self._close(self.plain.do_terminate, connection)

    def set_isolation_level(self, connection: Any, level: Any) -> Any:
        """Set the level of a DBAPI connection; with AUTOCOMMIT it has no transactions."""
        result = self.plain.set_isolation_level(connection, level)
        self._autocommits[id(connection)] = level == "AUTOCOMMIT"
        return result

    def set_connection_execution_options(self, connection: Any, options: Mapping[str, Any]) -> Any:
        """Set options of a connection, the notes of its transactions included."""
        if NOTES in options:
            connection.connection.__dict__[NOTES] = options[NOTES]
        return self.plain.set_connection_execution_options(connection, options)

    def _close(self, close: Callable[[Any], Any], connection: Any) -> Any:
        self._autocommits.pop(id(connection), None)
        return self._roll_back(self._open.pop(id(connection), None), close, connection)

    # Statements

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> Any:
        """Execute a statement, as one operation."""
        return self._execute(self.plain.do_execute, context, cursor, statement, parameters)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> Any:
        """Execute a statement for several sets of parameters, as one operation."""
        return self._execute(self.plain.do_executemany, context, cursor, statement, parameters)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> Any:
        """Execute a statement whose text must not be searched for parameters."""
        return self._execute(self.plain.do_execute_no_params, context, cursor, statement)

    def _deliver_insertmanyvalues_batches(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, sizes: Any, context: Any
    ) -> Iterator[Any]:
        """Yield the statements of one INSERT of many rows, which are one operation."""
        batches = self.plain._deliver_insertmanyvalues_batches(  # noqa: SLF001 (the method that this one replaces)
            connection, cursor, statement, parameters, sizes, context
        )
        transaction = self._transaction_of(connection)
        if self.is_retired and transaction is None:
            yield from batches
            return
        operation = context.__dict__[_BATCHES] = self._start("set", "INSERT", transaction)
        rows = 0
        try:
            for batch in batches:
                yield batch
                rows += batch.current_batch_size
        except BaseException as error:
            operation.finish(self._failure(error))  # unless a statement has failed, and has ended it
            raise
        finally:
            del context.__dict__[_BATCHES]
        operation.items = rows
        operation.finish()

    def _execute(self, execute: Callable[..., Any], context: Any, cursor: Any, statement: str, *parameters: Any) -> Any:
        connection = None if context is None else context.root_connection
        if connection is None or _QUIET in connection.__dict__:
            return execute(cursor, statement, *parameters, context)
        transaction = self._transaction_of(connection)
        if self.is_retired and transaction is None:
            return execute(cursor, statement, *parameters, context)
        verb = verb_of(statement)
        is_batch = _BATCHES in context.__dict__
        operation = context.__dict__[_BATCHES] if is_batch else self._start(verb.operation, verb.word, transaction)
        try:
            result = execute(cursor, statement, *parameters, context)
        except BaseException as error:
            operation.finish(self._failed(error, transaction, connection.connection, cursor))
            raise
        if transaction is not None:
            transaction.is_aborted = False
            transaction.has_written = transaction.has_written or verb.writes
        if not is_batch:
            if verb.writes:
                operation.items = _rows_written(cursor, context)
            operation.finish()
        return result

    def _start(self, name: str, verb: str, transaction: _Transaction | None) -> Operation:
        observed = None if transaction is None else transaction.observed
        operation = self.observer.make_operation(name, None, None, -1, verb, None, observed)
        operation.start()
        return operation

    # Transactions

    def do_begin(self, connection: Any) -> Any:
        """Begin a transaction; DBAPI connections begin one by themselves with the first statement."""
        result = self.plain.do_begin(connection)
        self._begin(connection)
        return result

    def do_commit(self, connection: Any) -> Any:
        """Commit the transaction."""
        return self._commit(self._take(connection), self.plain.do_commit, connection)

    def do_rollback(self, connection: Any) -> Any:
        """Roll back the transaction."""
        return self._roll_back(self._take(connection), self.plain.do_rollback, connection)

    def do_begin_twophase(self, connection: Any, xid: Any) -> Any:
        """Begin a two-phase transaction."""
        with _quiet(connection):
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
        with _quiet(connection):
            return self._commit(transaction, self.plain.do_commit_twophase, connection, xid, *args, **kwargs)

    def do_rollback_twophase(self, connection: Any, xid: Any, *args: Any, **kwargs: Any) -> Any:
        """Roll back a two-phase transaction."""
        transaction = self._take_twophase(connection, xid)
        with _quiet(connection):
            return self._roll_back(transaction, self.plain.do_rollback_twophase, connection, xid, *args, **kwargs)

    def do_savepoint(self, connection: Any, name: str) -> Any:
        """Begin a savepoint, a transaction of its own."""
        result = self._control(connection, self.plain.do_savepoint, name)
        root = self._root_of(connection)
        if root is not None:
            outer = root.innermost.observed
            root.savepoints[name] = _Transaction(outer.observer.transaction(place(), parent_id=outer.transaction_id))
        return result

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> Any:
        """Roll back to a savepoint, which ends it and the savepoints in it."""
        savepoint = self._take_savepoint(connection, name)
        with _quiet(connection):
            return self._roll_back(savepoint, self.plain.do_rollback_to_savepoint, connection, name)

    def do_release_savepoint(self, connection: Any, name: str) -> Any:
        """Release a savepoint: what it has written is now part of the outer transaction."""
        root, savepoint = self._root_of(connection), self._take_savepoint(connection, name)
        outer = None if root is None else root.innermost
        with _quiet(connection):
            result = self._commit(savepoint, self.plain.do_release_savepoint, connection, name)
        if savepoint is not None and outer is not None:
            outer.has_written = outer.has_written or savepoint.has_written
        return result

    def _begin(self, connection: Any) -> _Transaction | None:
        key = id(connection.dbapi_connection)
        if self.is_retired or self._autocommits.get(key, self._autocommits_by_default):
            return None
        attributes = connection.__dict__
        transaction = _Transaction(self.observer.transaction(attributes.get(NOTES) or place()))
        attributes[_TRANSACTION] = self._open[key] = transaction
        return transaction

    def _commit(
        self, transaction: _Transaction | None, commit: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        if transaction is None:
            return commit(*arguments, **options)
        transaction.absorb()
        started = time.monotonic()
        try:
            result = commit(*arguments, **options)
        except BaseException as error:
            self._end(transaction, "commit_failed", self._failure(error), time.monotonic() - started)
            raise
        if transaction.is_aborted:
            self._end(transaction, "rolled_back", transaction.error)
        else:
            self._end(transaction, "committed", None, time.monotonic() - started)
        return result

    def _roll_back(
        self, transaction: _Transaction | None, undo: Callable[..., Any], *arguments: Any, **options: Any
    ) -> Any:
        if transaction is None:
            return undo(*arguments, **options)
        transaction.absorb()
        cause = self._cause(transaction)
        try:
            result = undo(*arguments, **options)
        except BaseException as error:
            self._end(transaction, "rollback_failed", self._failure(error))
            raise
        is_closed = cause is None and not transaction.has_written
        self._end(transaction, "closed" if is_closed else "rolled_back", cause)
        return result

    def _control(self, connection: Any, control: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method that executes statements of SQLAlchemy's own."""
        transaction = self._transaction_of(connection)
        with _quiet(connection):
            try:
                return control(connection, *arguments)
            except BaseException as error:
                self._failed(error, transaction)
                raise

    def _end(
        self,
        transaction: _Transaction,
        outcome: TransactionOutcome,
        error: BaseException | None,
        commit_duration: float | None = None,
    ) -> None:
        transaction.end(outcome, error, commit_duration)
        if self.is_retired:
            self.retire()

    def _root_of(self, connection: Any) -> _Transaction | None:
        return self._open.get(id(connection.connection.dbapi_connection))

    def _transaction_of(self, connection: Any) -> _Transaction | None:
        root = self._open.get(id(connection.connection.dbapi_connection))
        return root if root is None else root.innermost

    def _take(self, connection: Any) -> _Transaction | None:
        """Remove and return the transaction of a pool's connection."""
        transaction = self._open.pop(id(connection.dbapi_connection), None)
        if transaction is not None:
            connection.__dict__.pop(_TRANSACTION, None)
        return transaction

    def _take_twophase(self, connection: Any, xid: Any) -> _Transaction | None:
        transaction = self._root_of(connection)
        return None if transaction is None or transaction.xid != xid else self._take(connection.connection)

    def _take_savepoint(self, connection: Any, name: str) -> _Transaction | None:
        root = self._root_of(connection)
        return None if root is None else root.take_savepoint(name)

    # Errors

    def _cause(self, transaction: _Transaction) -> BaseException | None:
        """Return the error that makes the program roll back: that of a statement or its own, else the last one."""
        present = error_in_flight()
        if present is None or isinstance(present, GeneratorExit) or id(present) == transaction.handled:
            return transaction.error
        since = itertools.takewhile(lambda one: id(one) != transaction.handled, chain_of(present))
        return self._failure(next((one for one in since if self._is_of_driver(_original(one))), present))

    def _failed(self, error: BaseException, transaction: _Transaction | None, *place: Any) -> BaseException:
        """Return the error for the events of a statement that has failed, and keep it for its transaction."""
        failure = self._failure(error, *place)
        if transaction is not None:
            transaction.error = failure
            transaction.is_aborted = self.dialect.name in _ABORTING and getattr(failure, "code", None) is not None
        return failure

    def _failure(self, error: BaseException, connection: Any = None, cursor: Any = None) -> BaseException:
        if is_cancellation(error):
            return error
        error = _original(error)
        code = code_of(error) if self._is_of_driver(error) else None  # others may quote keys
        error_type = error_type_of_driver(error, code)
        if error_type == "other" and self._is_disconnect(error, connection, cursor):
            error_type = "connection"
        return stand_in(error, error_type, code=code, with_text=self.error_text)

    def _is_of_driver(self, error: BaseException) -> bool:
        return isinstance(error, getattr(self.dialect.dbapi, "Error", ()))

    def _is_disconnect(self, error: BaseException, connection: Any, cursor: Any) -> bool:
        if not self._is_of_driver(error):
            return False
        if connection is None:  # it could not be made
            return True
        return bool(self.dialect.is_disconnect(error, connection, cursor))


def _original(error: BaseException) -> BaseException:
    """Return the driver's error that an error of SQLAlchemy wraps, or the error."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


@contextmanager
def _quiet(connection: Any) -> Iterator[None]:
    """Return a block in which statements of the connection are no operations."""
    attributes = connection.__dict__
    was_quiet = _QUIET in attributes
    attributes[_QUIET] = True
    try:
        yield
    finally:
        if not was_quiet:
            del attributes[_QUIET]


def _rows_written(cursor: Any, context: Any) -> int | None:
    """Return the number of rows that a statement has written; None if the driver does not know."""
    rows: int = cursor.rowcount
    if rows > 0 or (rows == 0 and cursor.description is None):
        return rows
    is_single = getattr(context.compiled, "insert_single_values_expr", None) is not None and not context.executemany
    return 1 if is_single else None  # SQLite counts rows with RETURNING only when they have been fetched


def _observed(dialect: Any) -> _ObservedDialect | None:
    observed: _ObservedDialect | None = vars(dialect).get(_OBSERVED)
    return observed


def _engine_of(target: Any) -> Any:
    """Return the engine of an engine or async engine; None for other objects."""
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None and isinstance(target, asyncio.AsyncEngine):
        target = target.sync_engine
    return target if isinstance(target, sys.modules["sqlalchemy"].Engine) else None


def _store_name(url: Any, backend: str) -> str:
    """Return the backend and the name of the database, without the folders of a file."""
    database = (url.database or "").partition("?")[0]
    if backend == "sqlite" and (database in ("", ":memory:", "file::memory:") or url.query.get("mode") == "memory"):
        return f"{backend}:memory"
    name = re.split(r"[/\\]", database.removeprefix("file:"))[-1]
    return f"{backend}:{name}" if name else backend
