"""Take the screenshot docs/images/page.png: the page after ten minutes of work on real stores.

python -m tests.page.screenshot [SECONDS light|dark FILE]
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import random
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import FileSystemStore, SqliteStore, Value, monitor
from encore_storage.stores.abstract import AbstractStore
from tests.page.support import Screen, chromium

SECONDS = 615
FILE = Path(__file__).parents[2] / "docs" / "images" / "page.png"
SIZE = (1280, 900)

_BATCH = 8
_PACE = 0.1  # average seconds between two batches
_NAMES = ("harbour-at-dawn", "opening-night", "rehearsal", "the-second-act")


class Upload(io.RawIOBase):
    """Data from a slow connection, which may break."""

    def __init__(self, stop: threading.Event, size: int, *, breaks: bool) -> None:
        """Make an upload of `size` bytes, which is slow until `stop` is set."""
        self._stop = stop
        self._rest = size
        self._breaks_at = size // 3 if breaks else -1

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed asks for a buffer
        """Read bytes after a delay."""
        self._stop.wait(random.uniform(0.02, 0.08))
        if self._rest < self._breaks_at:
            raise ConnectionResetError(104, "Connection reset by peer")
        count = min(self._rest, len(buffer), 65_536)
        buffer[:count] = random.randbytes(count)
        self._rest -= count
        return count


class Work:
    """Threads that use the stores for the length of a block."""

    def __init__(
        self, library: AbstractStore, archive: AbstractStore, uploads: AbstractStore, keys: Sequence[str]
    ) -> None:
        """Make the threads without starting them."""
        self._keys = keys
        self._library, self._archive, self._uploads = library, archive, uploads
        self._stop = threading.Event()
        jobs = (self._import, self._upload, self._upload, self._download, self._download)
        self._threads = [threading.Thread(target=job) for job in jobs]

    def __enter__(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_error: object) -> None:
        """Stop the threads, and wait until they have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _turns(self) -> Iterator[int]:
        return itertools.takewhile(lambda _turn: not self._stop.is_set(), itertools.count())

    def _import(self) -> None:
        """Copy batches at a varying rate. Some fail, and for a while more of them."""
        keys = itertools.cycle(self._keys)
        for turn in self._turns():
            wave = 1 + 0.6 * math.sin(time.monotonic() / 40) + 0.25 * math.sin(time.monotonic() / 9)
            self._stop.wait(_PACE / max(wave, 0.15) * random.uniform(0.5, 1.5))
            is_bad_time = turn % 3000 > 2700
            with contextlib.suppress(OSError), self._archive.transaction("nightly import"):
                for key in itertools.islice(keys, _BATCH):
                    self._archive.set(key, self._library.get(key))
                    self._archive.exists(key)
                if turn % (25 if is_bad_time else 400) == 0:
                    raise OSError(28, "No space left on device")
            if turn % (3 if is_bad_time else 300) == 0:
                with contextlib.suppress(OSError):
                    self._archive.set("manifest.json", Value(Upload(self._stop, 50_000, breaks=True)))

    def _upload(self) -> None:
        for turn in self._turns():
            size = random.randint(3_000_000, 20_000_000)
            data = Upload(self._stop, size, breaks=turn % 7 == 6)
            with contextlib.suppress(OSError):
                self._uploads.set(f"films/{random.choice(_NAMES)}.mp4", Value(data, size=size))

    def _download(self) -> None:
        for _ in self._turns():
            self._stop.wait(random.uniform(0.5, 2))
            with contextlib.suppress(OSError, KeyError):
                self._read(f"films/{random.choice(_NAMES)}.mp4")

    def _read(self, key: str) -> None:
        with self._uploads.get(key) as value:
            for _ in value.iterdata(buffer_size=131_072):
                self._stop.wait(random.uniform(0.05, 0.1))


def main(seconds: float = SECONDS, scheme: str = "dark", file: Path = FILE, port: int = 9464) -> None:
    """Let the stores work for some seconds, then take the screenshot."""
    random.seed(4)
    manager = EventManager()
    standard = Path(sysconfig.get_path("stdlib"))
    with (
        tempfile.TemporaryDirectory(prefix="encore-screenshot-") as folder,
        FileSystemStore(standard, create=False, name="library", event_manager=manager) as library,
        SqliteStore(f"{folder}/archive.db", name="archive", event_manager=manager) as archive,
        FileSystemStore(Path(folder, "uploads"), name="uploads", event_manager=manager) as uploads,
        monitor(manager, logs=False, registry=CollectorRegistry(), port=port) as observed,
        chromium() as browser,
        Work(library, archive, uploads, [path.name for path in sorted(standard.glob("*.py"))]),
    ):
        assert observed.page is not None
        screen = Screen(browser, width=SIZE[0], height=SIZE[1], scheme=scheme)
        screen.open(observed.page)
        screen.page.wait_for_timeout(seconds * 1000)
        file.parent.mkdir(parents=True, exist_ok=True)
        screen.page.screenshot(path=file)
        screen.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case [seconds, scheme, file]:
            main(float(seconds), scheme, Path(file))
        case _:
            sys.exit(__doc__)
