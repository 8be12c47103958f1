"""The fingerprints of copied values: a table of its own, created for the first fingerprint.

A row belongs to one blob, whose number is never reused. Triggers delete it when the value is replaced or deleted, by
any version of Encore, and when its bytes are changed in place. The layout of the other tables is unaffected.
"""

from __future__ import annotations

import json

from encore_storage.stores.fingerprints import Fingerprint
from encore_storage.stores.sqlite.connection import Run

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
    """Return the fingerprint kept with a blob, or None."""
    if not _has_table(run):
        return None
    for (source,) in run("SELECT source FROM fingerprint WHERE blob = ?", blob):
        return list(json.loads(source))
    return None


def save(run: Run, blob: int, fingerprint: Fingerprint | None) -> None:
    """Keep a fingerprint with a blob, in the open transaction; for None, forget the kept one."""
    has_table = _has_table(run)
    if fingerprint is not None:
        for statement in () if has_table else _SCHEMA:
            run(statement)
        run("REPLACE INTO fingerprint (blob, source) VALUES (?, ?)", blob, json.dumps(fingerprint))
    elif has_table:
        run("DELETE FROM fingerprint WHERE blob = ?", blob)


def _has_table(run: Run) -> bool:
    return bool(run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'fingerprint'"))
