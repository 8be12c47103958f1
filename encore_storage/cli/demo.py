"""The demonstration: the standard library's own files, moved through real stores, with things going wrong."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from encore_storage.cli.copying import CopyJob
from encore_storage.cli.session import Session, session
from encore_storage.cli.status import FAILED
from encore_storage.stores import FileSystemStore, SqliteStore
from encore_storage.stores.abstract import AbstractStore

_SLOW_SECONDS = 2.0
_SLOW_READS = 20
_PAUSE = 0.25  # seconds between two jobs while it goes on serving


class DemonstratedError(Exception):
    """The failure that the demonstration provokes."""


def run_demo(*, port: int | None, keep_serving: bool, keep: bool) -> int:
    """Run it; the exit status, which is 0 only if every byte came back the same. Its files go, unless they are kept."""
    folder = Path(tempfile.mkdtemp(prefix="encore-demo-"))
    with contextlib.nullcontext() if keep else _removed(folder):
        return _run_in(folder, port=port, keep_serving=keep_serving, keep=keep)


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """A block after which the folder is gone, however it ends; after a SIGTERM, too, as containers send it."""

    def end(number: int, _frame: FrameType | None) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    is_ours = threading.current_thread() is threading.main_thread()
    if is_ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if is_ours and signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        shutil.rmtree(folder, ignore_errors=True)


def _run_in(folder: Path, *, port: int | None, keep_serving: bool, keep: bool) -> int:
    log_file = folder / "encore.log"
    with session(log_file=log_file, log_format="json", log_level="debug", port=port, progress=True) as run:
        run.say(f"to see it live: {run.page}")
        library = Path(sysconfig.get_path("stdlib"))
        with (
            FileSystemStore(library, create=False, name="library", event_manager=run.manager) as source,
            SqliteStore(str(folder / "archive.db"), name="archive", event_manager=run.manager) as archive,
        ):
            is_complete = _demonstrate(run, library, source, archive)
            run.show_summary()
            run.say(f"log: {log_file}" + ("" if keep else " (until the end; --keep to keep)"))
            run.say(f"metrics: {run.metrics_address}")
            run.say(f"page: {run.page}" + ("" if keep_serving else " (until now; --keep-serving to keep)"))
            if keep_serving:
                run.say("serving until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    _keep_busy(run, source, archive)
    return 0 if is_complete else FAILED


def _demonstrate(run: Session, library: Path, source: AbstractStore, archive: AbstractStore) -> bool:
    keys = [key for key in source.glob("*.py") if not key.startswith("site-packages/")]
    run.say(f"1. copies the standard library, {len(keys):,} files of {library},")
    run.say("   into a SQLite store, 100 in each transaction, and compares all of it by hash")
    job = CopyJob(source, archive, transaction_size=100, verify=True)
    job.run(keys)
    run.say(f"   {job.report.copied:,} of {job.report.total:,} arrived, the same to the last byte")

    run.say("2. a batch fails half-way: it is rolled back, and nothing of it is told as done")
    with contextlib.suppress(DemonstratedError), archive.transaction("a batch that fails"):
        for key in keys[:50]:
            archive.set(f"failed/{key}", source.get(key))
        raise DemonstratedError("the disk of the demonstration is full")
    left_behind = sum(1 for _ in archive.glob("failed/*"))
    run.say(f"   of its 50 keys, {left_behind} are in the store")

    run.say("3. asks for a key that is missing")
    try:
        archive.get_data("no/such/module.py")
    except KeyError as error:
        run.say(f"   {error}")

    run.say(f"4. a slow reader takes {_SLOW_SECONDS:.0f} s for one value")
    _read_slowly(archive, max(keys, key=lambda key: archive.get(key).size or 0))
    return job.report.is_complete and left_behind == 0


def _read_slowly(store: AbstractStore, key: str) -> None:
    with store.get(key) as value:
        for _ in value.iterdata(buffer_size=max((value.size or 0) // _SLOW_READS, 1)):
            time.sleep(_SLOW_SECONDS / _SLOW_READS)


def _keep_busy(run: Session, source: AbstractStore, archive: AbstractStore) -> None:
    """Go on for ever with a little of everything, so that dashboards have something to show."""
    if run.log is not None:
        run.log.disconnect()  # or it would fill the disk of whoever forgets it
    keys = itertools.cycle(list(archive.query_keys()))
    for turn in itertools.count(1):
        time.sleep(_PAUSE)
        if turn % 20 == 0:
            with contextlib.suppress(KeyError):
                archive.get_data("no/such/module.py")
        with contextlib.suppress(DemonstratedError), archive.transaction("going on"):
            for key in itertools.islice(keys, 5):
                archive.set(key, source.get(key))
                archive.to_bytes(key)
            if turn % 50 == 0:
                raise DemonstratedError("something of the demonstration fails now and then")
