"""The fingerprints of what was copied into a database: a table of their own, made when the first one comes.

A row is about one blob, and no other blob ever has its number. Triggers remove it with the value, whichever version of
Encore replaces or deletes that, and when somebody changes the bytes in place. The layout of the rest stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.stores.sqlite.connection import Row

Run = Callable[..., list[Row]]
"""Runs a statement with its parameters, and returns all rows."""

_SCHEMA = (
    "CREATE TABLE fingerprint (blob INTEGER PRIMARY KEY, source TEXT NOT NULL)",
    """
    CREATE TRIGGER fingerprint_of_replaced BEFORE INSERT ON entry BEGIN
        DELETE FROM fingerprint
        WHERE blob = (SELECT blob FROM entry WHERE key = NEW.key) AND blob <> NEW.blob;
    END
    """,
    """
    CREATE TRIGGER fingerprint_of_deleted AFTER DELETE ON entry BEGIN
        DELETE FROM fingerprint WHERE blob = OLD.blob;
    END
    """,
    """
    CREATE TRIGGER fingerprint_of_changed AFTER UPDATE ON chunk BEGIN
        DELETE FROM fingerprint WHERE blob = OLD.blob;
    END
    """,
)


def load(run: Run, blob: int) -> Fingerprint | None:
    """Return what was kept with the value that has this blob, or None."""
    if not _is_there(run):
        return None
    for (source,) in run("SELECT source FROM fingerprint WHERE blob = ?", blob):
        return list(json.loads(source))
    return None


def save(run: Run, blob: int, fingerprint: Fingerprint) -> None:
    """Keep a fingerprint with the value that has this blob, in the transaction that is open."""
    if not _is_there(run):
        for statement in _SCHEMA:
            run(statement)
    run("REPLACE INTO fingerprint (blob, source) VALUES (?, ?)", blob, json.dumps(fingerprint))


def remove(run: Run, blob: int) -> None:
    """Forget what is kept with the value that has this blob."""
    if _is_there(run):
        run("DELETE FROM fingerprint WHERE blob = ?", blob)


def _is_there(run: Run) -> bool:
    return bool(run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'fingerprint'"))
