"""SQLAlchemy: the statements and transactions of engines.

Methods of an engine's dialect are replaced. All DBAPI calls pass through them, after the program's own listeners, and
engines made by `execution_options()` share them. SQLAlchemy's events are not used: its commit event is emitted before
the commit, and any listener adds 18 µs to a transaction.
"""

from __future__ import annotations

import functools
import re
import sys
import time
import weakref
from typing import Any

from encore_storage.clients._sqlalchemy_dialect import ObservedDialect
from encore_storage.clients.client import Options
from encore_storage.clients.program import add_library


class SqlalchemyClient:
    """Observes engines and async engines, or all engines."""

    def __init__(self) -> None:
        add_library("sqlalchemy")
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
        self._unobserve(_engine_of(target).dialect)
        return target

    def observe_library(self, options: Options) -> None:
        """Observe each engine from the next time that it takes a connection from its pool."""
        self.unobserve_library()
        self._library = options
        self._replace_raw_connection()

    def unobserve_library(self) -> None:
        """Undo `observe_library`; engines that were observed themselves still are."""
        self._library = None
        for dialect in list(self._dialects_of_library):
            self._unobserve(dialect)
        self._restore_raw_connection()

    def _observe(self, engine: Any, options: Options) -> ObservedDialect:
        dialect = engine.dialect
        observer = options.observer(_store_name(engine.url, dialect.name), dialect.name)
        observed = ObservedDialect.of(dialect) or ObservedDialect(dialect, observer, error_text=options.error_text)
        observed.renew(observer, error_text=options.error_text)
        self._dialects.add(dialect)
        self._replace_raw_connection()
        return observed

    def _unobserve(self, dialect: Any) -> None:
        self._dialects.discard(dialect)
        self._dialects_of_library.discard(dialect)
        observed = ObservedDialect.of(dialect)
        if observed is not None:
            observed.retire()
        self._restore_raw_connection()

    def _replace_raw_connection(self) -> None:
        """Replace the method by which engines take connections, to find engines and to observe timeouts of pools."""
        if self._plain is not None:
            return
        engine_class = sys.modules["sqlalchemy"].Engine
        timeout_error = sys.modules["sqlalchemy"].exc.TimeoutError
        plain = self._plain = engine_class.raw_connection

        @functools.wraps(plain)
        def raw_connection(engine: Any) -> Any:
            observed = ObservedDialect.of(engine.dialect)
            if observed is None:
                if self._library is None or not _is_real(engine):
                    return plain(engine)
                observed = self._observe(engine, self._library)
                self._dialects_of_library.add(engine.dialect)
            started = time.monotonic()
            try:
                return plain(engine)
            except timeout_error as error:
                observed.pool_timed_out(error, time.monotonic() - started)
                raise

        engine_class.raw_connection = raw_connection

    def _restore_raw_connection(self) -> None:
        engine_class = sys.modules["sqlalchemy"].Engine
        is_ours = getattr(engine_class.raw_connection, "__wrapped__", None) is self._plain
        if self._plain is not None and self._library is None and not len(self._dialects) and is_ours:
            engine_class.raw_connection, self._plain = self._plain, None


def _engine_of(target: Any) -> Any:
    """Return the engine of an engine or async engine; None for other objects."""
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None and isinstance(target, asyncio.AsyncEngine):
        target = target.sync_engine
    return target if isinstance(target, sys.modules["sqlalchemy"].Engine) else None


def _is_real(engine: Any) -> bool:
    """Return False if a test has made the engine of mocks."""
    library = sys.modules["sqlalchemy"]
    return isinstance(engine.dialect, library.Dialect) and isinstance(engine.url, library.URL)


def _store_name(url: Any, backend: str) -> str:
    """Return the backend and the name of the database, without the folders of a file."""
    database = (url.database or "").partition("?")[0]
    if backend == "sqlite" and (database in ("", ":memory:", "file::memory:") or url.query.get("mode") == "memory"):
        return f"{backend}:memory"
    name = re.split(r"[/\\]", database.removeprefix("file:"))[-1]
    return f"{backend}:{name}" if name else backend
