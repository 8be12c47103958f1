"""The command `encore demo`: copies the standard library through real stores, with failures, and observes clients."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from encore_storage.cli import demo_clients as clients
from encore_storage.cli.copying import CopyJob
from encore_storage.cli.errors import DemonstratedError
from encore_storage.cli.interrupts import handled
from encore_storage.cli.session import Session, session
from encore_storage.cli.status import FAILED
from encore_storage.stores import FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore

_SLOW_SECONDS = 2.0
_SLOW_READS = 20
_CLIENT_KEYS = 50
_PAUSE = 0.25  # seconds between two batches while serving


def run_demo(*, port: int | None, keep_serving: bool, keep: bool) -> int:
    """Run the demonstration, and return the exit status; it is 0 only if the copy is identical.

    Its files are deleted afterwards unless `keep` is true.
    """
    with _undone_on_sigterm() as stack:
        folder = Path(tempfile.mkdtemp(prefix="encore-demo-"))
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return _run_in(folder, stack, port=port, keep_serving=keep_serving, keep=keep)


@contextlib.contextmanager
def _undone_on_sigterm() -> Iterator[contextlib.ExitStack]:
    """Yield a stack that is closed after the block, also on SIGTERM, which containers send."""
    stack = contextlib.ExitStack()

    def end(number: int, _frame: FrameType | None) -> None:
        stack.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    with stack, handled(signal.SIGTERM, end):
        yield stack


def _run_in(folder: Path, stack: contextlib.ExitStack, *, port: int | None, keep_serving: bool, keep: bool) -> int:
    server = clients.start_s3(folder)  # it needs a second, and is used last
    if server is not None:
        stack.callback(server.stop)
    log_file = folder / "encore.log"
    with session(log_file=log_file, log_format="json", log_level="debug", port=port, progress=True) as run:
        run.print(f"live page: {run.page}")
        library = Path(sysconfig.get_path("stdlib"))
        with (
            FileSystemStore(library, create=False, name="library", event_manager=run.manager) as source,
            SqliteStore(str(folder / "archive.db"), name="archive", event_manager=run.manager) as archive,
            contextlib.ExitStack() as opened,
        ):
            is_complete = _demonstrate(run, library, source, archive)
            values = _some_values(archive)
            objects = clients.open_objects(run, server, opened)
            if objects is not None:
                is_complete &= clients.demonstrate_objects(run, objects, values)
            orders = clients.open_orders(run, folder, opened)
            if orders is not None:
                is_complete &= clients.demonstrate_orders(run, orders)
            run.print_summary()
            run.print(f"log: {log_file}" + ("" if keep else " (deleted at the end; --keep keeps it)"))
            run.print(f"metrics: {run.metrics_address}")
            run.print(
                f"page: {run.page}" + ("" if keep_serving else " (closed at the end; --keep-serving keeps it open)")
            )
            if keep_serving:
                run.print("serving until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    _keep_busy(run, source, archive, clients.client_load(objects, orders, values))
    return 0 if is_complete else FAILED


def _some_values(store: AbstractStore) -> dict[str, bytes]:
    return {key: store.to_bytes(key) for key in list(store.query_keys())[:_CLIENT_KEYS]}


def _demonstrate(run: Session, library: Path, source: AbstractStore, archive: AbstractStore) -> bool:
    keys = [key for key in source.glob("*.py") if not key.startswith("site-packages/")]
    run.print(f"1. copies the standard library, {len(keys):,} files of {library},")
    run.print("   into a SQLite store, 100 in each transaction, and verifies each by hash")
    job = CopyJob(source, archive, transaction_size=100, verify=True)
    job.run(keys)
    run.print(f"   {job.report.copied:,} of {job.report.total:,} copied, identical to the last byte")

    run.print("2. a batch fails half-way and is rolled back; no key change is reported")
    with contextlib.suppress(DemonstratedError), archive.transaction("a batch that fails"):
        for key in keys[:50]:
            archive.set(f"failed/{key}", source.get(key))
        raise DemonstratedError("the disk is full (demonstration)")
    left_behind = sum(1 for _ in archive.glob("failed/*"))
    run.print(f"   of its 50 keys, {left_behind} are in the store")

    run.print("3. asks for a missing key")
    try:
        archive.get_data("no/such/module.py")
    except KeyError as error:
        run.print(f"   {error}")

    run.print(f"4. a slow reader takes {_SLOW_SECONDS:.0f} s for one value")
    _read_slowly(archive, max(keys, key=lambda key: archive.get(key).size or 0))
    return job.report.is_complete and left_behind == 0


def _read_slowly(store: AbstractStore, key: str) -> None:
    with store.get(key) as value:
        for _ in value.iterdata(buffer_size=max((value.size or 0) // _SLOW_READS, 1)):
            time.sleep(_SLOW_SECONDS / _SLOW_READS)


def _keep_busy(run: Session, source: AbstractStore, archive: AbstractStore, use_clients: Callable[[int], None]) -> None:
    """Run a mixed load forever, so that dashboards have something to show."""
    if run.log is not None:
        run.log.disconnect()  # a forgotten demonstration would fill the disk
    keys = itertools.cycle(list(archive.query_keys()))
    for number in itertools.count(1):
        time.sleep(_PAUSE)
        use_clients(number)
        if number % 20 == 0:
            with contextlib.suppress(KeyError):
                archive.get_data("no/such/module.py")
        with contextlib.suppress(DemonstratedError), archive.transaction("background load"):
            for key in itertools.islice(keys, 5):
                archive.set(key, source.get(key))
                archive.to_bytes(key)
            if number % 50 == 0:
                raise DemonstratedError("an occasional failure (demonstration)")
