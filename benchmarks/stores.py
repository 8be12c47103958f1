"""The cost of stores in files and databases, compared with the same work by hand.

The peers make the system calls or run the statements that the work needs, without checks, events and locks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import Bench, Snippet
from encore_events import EventManager
from encore_storage.cli.app import run_command
from encore_storage.metadata import Metadata
from encore_storage.stores import FileSystemStore, SqliteStore
from encore_storage.stores.filesystem.keys import digest_of

Pair = tuple[Snippet, Snippet]

SIZE = 4096
FILES, FOLDERS = 2_000, 20
KEYS, KEYS_IN_FILES = 100_000, 20_000  # each key has two files, which take long to create
FOUND = 100  # every hundredth key matches

SET_BY_HAND = """
run('SAVEPOINT encore').fetchall()
blob = randbits(63)
run('INSERT INTO chunk (blob, number, data) VALUES (?, ?, ?)', (blob, 0, data)).fetchall()
((size, metadata, created, modified, old),) = run(FIND, ('key',)).fetchall()
run('DELETE FROM chunk WHERE blob = ?', (old,)).fetchall()
run(REPLACE, ('key', dumps(loads(metadata)), len(data), created, now(), blob)).fetchall()
run('RELEASE encore').fetchall()
"""
GET_BY_HAND = """
((size, metadata, created, modified, blob),) = run(FIND, ('key',)).fetchall()
((data,),) = run('SELECT data FROM chunk WHERE blob = ? AND number = ?', (blob, 0)).fetchall()
"""
FIND = "SELECT size, metadata, created, modified, blob FROM entry WHERE key = ?"
REPLACE = "REPLACE INTO entry (key, metadata, size, created, modified, blob) VALUES (?, ?, ?, ?, ?, ?)"
QUERY = "list(store.query_keys(kind='invoice'))"
EXTRACT = "SELECT key FROM entry WHERE json_extract(metadata, '$.kind') = 'invoice'"


def benches() -> Iterator[Bench]:
    """Yield the rows of stores."""
    statements = "in an open transaction, against the same statements by hand"
    yield Bench(f"SqliteStore set of 4 KiB {statements}", set_in_transaction, 3.5)
    yield Bench(f"SqliteStore get of 4 KiB {statements}", get_in_transaction, 5.8)
    yield Bench("FileSystemStore get of 4 KiB, against open().read()", get_file, 6)
    yield Bench(f"encore copy of {FILES:,} files of 4 KiB, against shutil.copytree", copy, 5)
    yield Bench(f"SqliteStore query by metadata over {KEYS:,} keys, against json_extract", query_database, 3)
    walk = f"over {KEYS_IN_FILES:,} keys, against a walk that reads the same"
    yield Bench(f"FileSystemStore query by metadata {walk}", query_files, 2)


def set_in_transaction() -> Pair:
    """Compare a set of an existing key in an open transaction with its statements."""
    ours, by_hand = _in_transactions()
    return ours("store.from_bytes('key', data)"), by_hand(SET_BY_HAND)


def get_in_transaction() -> Pair:
    """Compare a get in an open transaction with its statements."""
    ours, by_hand = _in_transactions()
    return ours("store.get_data('key').read()"), by_hand(GET_BY_HAND)


def get_file() -> Pair:
    """Compare a get with reading the file."""
    directory = TemporaryDirectory()
    store = FileSystemStore(directory.name, event_manager=EventManager())
    store.from_bytes("key", bytes(SIZE))
    path = f"{directory.name}/key"
    return (
        Snippet("store.get_data('key').read()", store=store, directory=directory),
        Snippet("open(path, 'rb').read()", path=path),
    )


def copy() -> Pair:
    """Compare `encore copy` with `shutil.copytree`, each to a new directory."""
    directory = TemporaryDirectory()
    base = Path(directory.name)
    for number in range(FILES):
        path = base / "source" / str(number % FOLDERS) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(secrets.token_bytes(SIZE))
    time.sleep(0.1)  # else the first copy waits until the clock of the file system has moved on

    def ours() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert run_command(["copy", str(base / "source"), str(base / secrets.token_hex()), "--no-progress"]) == 0

    def theirs() -> None:
        shutil.copytree(base / "source", base / secrets.token_hex())

    return Snippet("copy()", rounds=5, copy=ours, directory=directory), Snippet("copy()", rounds=5, copy=theirs)


def query_database() -> Pair:
    """Compare a query with one statement in the same database."""
    directory = TemporaryDirectory()
    path = f"{directory.name}/bench.db"
    store = SqliteStore(path, event_manager=EventManager())
    with store.transaction():
        for number in range(KEYS):
            store.set_metadata(f"{number % FOLDERS}/{number}", _metadata(number))
    database = sqlite3.connect(path)
    return (
        Snippet(QUERY, rounds=20, store=store, directory=directory),
        Snippet("run(statement).fetchall()", rounds=20, run=database.execute, statement=EXTRACT),
    )


def query_files() -> Pair:
    """Compare a query with reading each file of metadata."""
    directory = TemporaryDirectory()
    base = Path(directory.name)
    metadata = base / ".encore" / "metadata"
    metadata.mkdir(parents=True)
    for number in range(KEYS_IN_FILES):  # as set_metadata would, in a fraction of the time
        key = f"{number % FOLDERS}/{number}"
        (base / key).parent.mkdir(exist_ok=True)
        (base / key).touch()
        (metadata / f"{digest_of(key)}.json").write_text(json.dumps({"key": key, "metadata": _metadata(number)}))
    store = FileSystemStore(base, event_manager=EventManager())

    def walk() -> list[str]:
        found = []
        for entry in os.scandir(metadata):
            with open(entry.path, "rb") as file:  # noqa: PTH123 (the fastest)
                record = json.load(file)
            if record["metadata"]["kind"] == "invoice":
                found.append(record["key"])
        return found

    return Snippet(QUERY, rounds=5, store=store, directory=directory), Snippet("walk()", rounds=5, walk=walk)


def _metadata(number: int) -> Metadata:
    return {"kind": "other" if number % FOUND else "invoice", "number": number, "tags": ["a", "b"]}


def _in_transactions() -> tuple[Callable[[str], Snippet], Callable[[str], Snippet]]:
    """Return functions that make the snippets of both sides, each in a transaction of its own database."""
    directory = TemporaryDirectory()
    paths = [f"{directory.name}/ours.db", f"{directory.name}/theirs.db"]
    stores = [SqliteStore(path, event_manager=EventManager()) for path in paths]
    for store in stores:
        store.from_bytes("key", bytes(SIZE))
    transaction = stores[0].transaction()
    transaction.__enter__()
    database = sqlite3.connect(paths[1], isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    names: dict[str, Any] = {"run": database.execute, "FIND": FIND, "REPLACE": REPLACE, "data": bytes(SIZE)}
    functions: dict[str, Any] = {"randbits": secrets.randbits, "now": time.time}
    functions |= {"dumps": json.dumps, "loads": json.loads}
    kept: dict[str, Any] = {"transaction": transaction, "directory": directory}
    return partial(Snippet, store=stores[0], data=bytes(SIZE), **kept), partial(Snippet, **names, **functions)
