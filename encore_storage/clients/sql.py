"""SQL: the operations that statements are, and the codes and types of the errors of drivers (PEP 249)."""

from __future__ import annotations

import re
from typing import NamedTuple

from encore_storage.errors import ErrorType, error_type_of
from encore_storage.events import Operation


class Verb(NamedTuple):
    """The verb of a statement.

    Attributes:
        word: the verb, of a closed list; 'SQL' for others.
        operation: the operation that the statement is.
        writes: False if the statement only reads, or only changes the state of the connection.
    """

    word: str
    operation: Operation
    writes: bool


_OTHER = Verb("SQL", "execute", writes=True)
_WRITING = (
    *("ALTER", "ANALYZE", "ATTACH", "CALL", "COMMENT", "COPY", "CREATE", "DETACH", "DO", "DROP", "EXEC", "EXECUTE"),
    *("GRANT", "IMPORT", "LOAD", "NOTIFY", "OPTIMIZE", "REFRESH", "REINDEX", "RENAME", "REVOKE", "TRUNCATE", "VACUUM"),
)
_NOT_WRITING = (
    *("ABORT", "BEGIN", "CHECKPOINT", "CLOSE", "COMMIT", "DEALLOCATE", "DECLARE", "DESCRIBE", "DISCARD", "END"),
    *("EXPLAIN", "FETCH", "KILL", "LISTEN", "LOCK", "PRAGMA", "PREPARE", "RELEASE", "RESET", "ROLLBACK", "SAVEPOINT"),
    *("SET", "SHOW", "START", "UNLISTEN", "UNLOCK", "USE"),
)
_VERBS: dict[str, Verb] = {
    **{word: Verb(word, "query", writes=False) for word in ("SELECT", "TABLE", "VALUES")},
    **{word: Verb(word, "set", writes=True) for word in ("INSERT", "MERGE", "REPLACE", "UPDATE", "UPSERT")},
    "DELETE": Verb("DELETE", "delete", writes=True),
    **{word: Verb(word, "execute", writes=True) for word in _WRITING},
    **{word: Verb(word, "execute", writes=False) for word in _NOT_WRITING},
}

_FIRST_WORD = re.compile(r"(?:[\s(;]|--[^\n]*+|/\*(?>.*?\*/))*+([A-Za-z]+)", re.DOTALL)
_PARTS = re.compile(
    r"""'(?:[^']|'')*+' | "[^"]*+" | --[^\n]*+ | /\*(?>.*?\*/) | \bFOR\s+(?:NO\s+KEY\s+)?UPDATE\b
    | (?P<paren>[()]) | \b(?P<word>SELECT|VALUES|INSERT|UPDATE|DELETE|MERGE|REPLACE)\b""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""The parts of a statement that matter after WITH or EXPLAIN; those without a group are skipped."""


def verb_of(statement: str) -> Verb:
    """Return the verb of a statement.

    >>> verb_of("select 1").operation, verb_of("WITH a AS (SELECT 1) DELETE FROM t").word
    ('query', 'DELETE')
    """
    known = _VERBS.get(statement[:6])  # most have six letters, all of them capitals; none is the start of another word
    if known is not None:
        return known
    found = _FIRST_WORD.match(statement)
    if found is None:
        return _OTHER
    word = found[1].upper()
    if word in ("WITH", "EXPLAIN"):
        return _after_prefix(word, statement)
    return _VERBS.get(word, _OTHER)


def _after_prefix(prefix: str, statement: str) -> Verb:
    """Return the verb after WITH and its subqueries, which may write as well; EXPLAIN is a verb itself."""
    depth, main, writes = 0, _OTHER, False
    for part in _PARTS.finditer(statement):
        if part["paren"]:
            depth += 1 if part["paren"] == "(" else -1
        elif part["word"]:
            verb = _VERBS[part["word"].upper()]
            writes = writes or verb.writes
            main = verb if depth == 0 and main is _OTHER else main
    if prefix == "EXPLAIN":
        main = _VERBS[prefix]
    return main if main is _OTHER or main.writes == writes else main._replace(writes=writes)


_STATE_LENGTH = 5  # characters of a SQLSTATE
_BY_STATE: dict[str, ErrorType] = {
    "25006": "read_only",
    "25P03": "timeout",  # idle in a transaction for too long
    "3D000": "not_found",  # the database
    "40001": "conflict",  # it cannot be serialized
    "40P01": "conflict",  # a deadlock
    "42501": "permission_denied",
    "55P03": "timeout",  # a lock is not available
    "57014": "timeout",  # the statement was cancelled, by its timeout as a rule
    "57P01": "connection",  # the server shuts down
    "57P02": "connection",
    "57P03": "connection",
    "57P05": "timeout",  # an idle session
}
_BY_STATE_CLASS: dict[str, ErrorType] = {
    "08": "connection",
    "0A": "unsupported",
    "22": "invalid",  # data
    "23": "conflict",  # constraints
    "28": "permission_denied",  # authorization
    "42": "invalid",  # syntax, or names that are unknown
    "53": "quota_exceeded",  # disk, memory, connections
    "XX": "integrity",  # internal errors and corruption
}


_BY_SQLITE_NAME: dict[str, ErrorType] = {
    "AUTH": "permission_denied",
    "BUSY": "timeout",
    "CANTOPEN": "connection",
    "CONSTRAINT": "conflict",
    "CORRUPT": "integrity",
    "ERROR": "invalid",
    "FULL": "quota_exceeded",
    "INTERRUPT": "timeout",
    "LOCKED": "timeout",
    "MISMATCH": "invalid",
    "NOTADB": "integrity",
    "PERM": "permission_denied",
    "RANGE": "invalid",
    "READONLY": "read_only",
    "TOOBIG": "invalid",
}
"""The error types by the second words of SQLite's codes, such as SQLITE_BUSY_SNAPSHOT."""

_BY_MYSQL_NUMBER: dict[str, ErrorType] = {
    **dict.fromkeys(("1205", "3024"), "timeout"),
    "1213": "conflict",  # a deadlock
    **dict.fromkeys(("1044", "1045", "1142", "1143", "1227", "1370"), "permission_denied"),
    "1049": "not_found",  # the database
    **dict.fromkeys(("1290", "1836"), "read_only"),
    **dict.fromkeys(("1021", "1040", "1114", "1203"), "quota_exceeded"),
    **dict.fromkeys(("2002", "2003", "2006", "2013"), "connection"),
}
_BY_CLASS_NAME: dict[str, ErrorType] = {
    "ConnectionTimeout": "timeout",
    "DataError": "invalid",
    "IntegrityError": "conflict",
    "NotSupportedError": "unsupported",
    "ProgrammingError": "invalid",
    "TimeoutError": "timeout",
}


def code_of(error: BaseException) -> str | None:
    """Return the code of a driver's error: its SQLSTATE, SQLite's name or MySQL's number; None if it has none."""
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, name, None)
        if isinstance(code, str) and code:
            return code
    number = error.args[0] if error.args else None
    return str(number) if type(number) is int else None


def error_type_of_driver(error: BaseException, code: str | None) -> ErrorType:
    """Return the error type of a driver's error with that code.

    >>> error_type_of_driver(Exception(), "23505"), error_type_of_driver(Exception(), "SQLITE_BUSY")
    ('conflict', 'timeout')
    """
    found = None if code is None else _error_type_of_code(code)
    if found is not None:
        return found
    names = [cls.__name__ for cls in type(error).__mro__]
    return next((_BY_CLASS_NAME[name] for name in names if name in _BY_CLASS_NAME), None) or error_type_of(error)


def _error_type_of_code(code: str) -> ErrorType | None:
    if code.startswith("SQLITE_"):
        return _BY_SQLITE_NAME.get(code.split("_")[1])
    if len(code) == _STATE_LENGTH:
        return _BY_STATE.get(code) or _BY_STATE_CLASS.get(code[:2])
    return _BY_MYSQL_NUMBER.get(code)
