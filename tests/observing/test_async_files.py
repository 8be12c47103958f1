"""StoreObserver observes async files and iterables as they are read or written."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterable

import pytest

from encore_events.testing import EventRecorder
from encore_storage.observing import StoreObserver
from tests.observing.support import DATA, ended


class AsyncFile:
    """A minimal async file."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = io.BytesIO(data)
        self.closed = False

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self.data.read(size)

    async def write(self, data: bytes) -> int:
        await asyncio.sleep(0)
        return self.data.write(data)

    async def close(self) -> None:
        self.closed = True


def test_reading_to_the_end_ends_the_operation(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> bytes:
        file = observer.reading("a", AsyncFile(DATA))
        return b"".join([await file.read(8), await file.read(8), await file.read(8)])

    assert asyncio.run(main()) == DATA
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_written_bytes_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> None:
        async with observer.writing("a", AsyncFile()) as file:
            assert await file.write(DATA) == len(DATA)

    asyncio.run(main())
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_chunks_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def main() -> list[bytes]:
        return [chunk async for chunk in observer.reading("a", chunks())]

    assert asyncio.run(main()) == [b"one", b"two"]
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 6)


def test_cancelled_read_is_cancelled(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Stuck(AsyncFile):
        async def read(self, size: int = -1) -> bytes:
            await asyncio.sleep(60)
            return await super().read(size)

    async def main() -> None:
        file = observer.reading("a", Stuck(DATA))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(file.read(), 0.01)

    asyncio.run(main())
    assert ended(recorder).outcome == "cancelled"


@pytest.mark.parametrize("close", ["close", "aclose"])
def test_file_is_closed(close: str, observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> AsyncFile:
        stream = AsyncFile(DATA)
        await getattr(observer.reading("a", stream), close)()
        return stream

    assert asyncio.run(main()).closed
    assert ended(recorder).outcome == "ok"


def test_block_closes_the_file(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> AsyncFile:
        stream = AsyncFile(DATA)
        async with observer.reading("a", stream) as file:
            await file.read(3)
        return stream

    assert asyncio.run(main()).closed
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 3)


def test_iteration_keeps_the_file(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Lines(AsyncFile):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for line in self.data:
                yield line

    async def main() -> AsyncFile:
        stream = Lines(DATA)
        file = observer.reading("a", stream)
        async for line in file:
            assert line == b"one\n"
            break
        assert await file.read() == b"two\nthree"
        await file.close()
        return stream

    assert asyncio.run(main()).closed
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_stream_reader_is_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> list[bytes]:
        stream = asyncio.StreamReader()
        stream.feed_data(DATA)
        stream.feed_eof()
        file = observer.reading("a", stream)
        return [await file.readexactly(4), await file.readuntil(b"\n"), await file.readline(), await file.read(1)]

    assert b"".join(asyncio.run(main())) == DATA
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_written_lines_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Lines(AsyncFile):
        async def writelines(self, lines: Iterable[bytes]) -> None:
            self.data.writelines(lines)

    async def main() -> bytes:
        stream = Lines()
        async with observer.writing("a", stream) as file:
            await file.writelines([b"one\n", b"two\n"])
        return stream.data.getvalue()

    assert asyncio.run(main()) == b"one\ntwo\n"
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 8)


def test_sync_write_stays_sync(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Duplex(AsyncFile):
        def write(self, data: bytes) -> int:  # type: ignore[override]  # as asyncio's StreamWriter
            return self.data.write(data)

    async def main() -> None:
        async with observer.writing("a", Duplex()) as file:
            assert file.write(b"one") == 3

    asyncio.run(main())
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 3)


def test_async_file_that_can_seek_is_read_until_it_is_closed(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Seekable(AsyncFile):
        async def seekable(self) -> bool:
            return True

        async def seek(self, offset: int) -> int:
            return self.data.seek(offset)

    async def main() -> None:
        async with observer.reading("a", Seekable(DATA)) as file:
            await file.read()
            await file.seek(0)
            await file.read()

    asyncio.run(main())
    assert ended(recorder).bytes == 2 * len(DATA)


def test_partial_bytes_of_an_incomplete_read_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"lin")
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await observer.reading("a", reader).readexactly(10)

    asyncio.run(main())
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("error", 3)
