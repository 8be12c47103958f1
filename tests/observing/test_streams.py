"""The streams of stores end their operation once, however they are read."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreProgressEndEvent, StoreProgressStepEvent
from encore_storage.observing import StoreObserver
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.observing.streams import ObservedIterator, ObservedReader, count_written
from encore_storage.streams import BufferIteratorIO, DataChunks

CHUNKS = [b"one\ntwo\n", b"", b"three"]
WHOLE = b"one\ntwo\nthree"


@pytest.fixture
def progress(manager: EventManager) -> StoreProgressManager:
    progress = StoreProgressManager(manager, message="get 'a'")
    progress.start()
    return progress


@pytest.fixture
def reader(progress: StoreProgressManager) -> Iterator[ObservedReader]:
    with ObservedReader(iter(CHUNKS), progress) as reader:
        yield reader


def emitted_end(recorder: EventRecorder) -> tuple[str, int] | None:
    """Return outcome and bytes of the end event, or None before it."""
    if not recorder.of(StoreProgressEndEvent):
        return None
    end = recorder.one(StoreProgressEndEvent)
    return end.outcome, end.bytes


def into(reader: Any, method: str, size: int) -> bytes:
    """Return the bytes that `readinto` or `readinto1` put into a buffer of that size."""
    buffer = bytearray(size)
    return bytes(buffer[: getattr(reader, method)(buffer)])


READS: dict[str, tuple[Callable[[ObservedReader], bytes], bytes]] = {
    "read()": (lambda reader: reader.read(), WHOLE),
    "read(None)": (lambda reader: reader.read(None), WHOLE),
    "read(-1)": (lambda reader: reader.read(-1), WHOLE),
    "read more than there is": (lambda reader: reader.read(100), WHOLE),
    "lines": (b"".join, WHOLE),
    "readlines": (lambda reader: b"".join(reader.readlines()), WHOLE),
    "readinto more than there is": (lambda reader: into(reader, "readinto", 100), WHOLE),
    "file_digest": (lambda reader: hashlib.file_digest(reader, "sha256").digest(), hashlib.sha256(WHOLE).digest()),
    "TextIOWrapper": (lambda reader: io.TextIOWrapper(reader, "ascii").read().encode(), WHOLE),  # type: ignore[type-var]  # typeshed wants a name
    "BufferedReader": (lambda reader: io.BufferedReader(reader).read(), WHOLE),
}
PARTS: dict[str, tuple[Callable[[ObservedReader], bytes], bytes]] = {
    "read": (lambda reader: reader.read(6), b"one\ntw"),
    "read nothing": (lambda reader: reader.read(0), b""),
    "read1": (lambda reader: reader.read1(), b"one\ntwo\n"),
    "read1 a part": (lambda reader: reader.read1(2), b"on"),
    "read1 nothing": (lambda reader: reader.read1(0), b""),
    "readline": (lambda reader: reader.readline(), b"one\n"),
    "readline a part": (lambda reader: reader.readline(2), b"on"),
    "readline nothing": (lambda reader: reader.readline(0), b""),
    "readinto": (lambda reader: into(reader, "readinto", 6), b"one\ntw"),
    "readinto nothing": (lambda reader: into(reader, "readinto", 0), b""),
    "readinto1": (lambda reader: into(reader, "readinto1", 100), b"one\ntwo\n"),
}


@pytest.mark.parametrize(("read", "expected"), READS.values(), ids=READS)
def test_reading_to_the_end_ends_the_operation(
    read: Callable[[ObservedReader], bytes], expected: bytes, reader: ObservedReader, recorder: EventRecorder
) -> None:
    assert read(reader) == expected
    assert emitted_end(recorder) == ("ok", len(WHOLE))


@pytest.mark.parametrize(("read", "expected"), PARTS.values(), ids=PARTS)
def test_reading_a_part_does_not_end_the_operation(
    read: Callable[[ObservedReader], bytes], expected: bytes, reader: ObservedReader, recorder: EventRecorder
) -> None:
    assert read(reader) == expected
    assert emitted_end(recorder) is None

    reader.close()
    assert emitted_end(recorder) == ("ok", len(expected))


@pytest.mark.parametrize("method", ["read1", "readline", "readinto", "readinto1"])
def test_empty_read_ends_the_operation(method: str, reader: ObservedReader, recorder: EventRecorder) -> None:
    assert reader.read(len(WHOLE)) == WHOLE
    assert emitted_end(recorder) is None

    found = into(reader, method, 5) if "into" in method else getattr(reader, method)(5)
    assert found == b""
    assert emitted_end(recorder) == ("ok", len(WHOLE))


def test_copyfileobj_reads_to_the_end(reader: ObservedReader, recorder: EventRecorder) -> None:
    target = io.BytesIO()
    shutil.copyfileobj(reader, target, 3)

    assert target.getvalue() == WHOLE
    assert emitted_end(recorder) == ("ok", len(WHOLE))


@pytest.mark.usefixtures("every_step")
def test_steps_have_the_bytes_that_were_read(manager: EventManager, recorder: EventRecorder) -> None:
    progress = StoreProgressManager(manager, steps=len(WHOLE))
    progress.start()
    with ObservedReader(iter(CHUNKS), progress) as reader:
        reader.read(2)
        reader.readline()
        reader.read()

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [2, 4]
    assert emitted_end(recorder) == ("ok", len(WHOLE))


def test_error_ends_the_operation_and_later_reads_are_not_counted(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError("cable")

    reader = ObservedReader(chunks(), progress)
    with pytest.raises(OSError, match="cable"):
        reader.read()
    assert emitted_end(recorder) == ("error", 0)

    assert reader.read(3) == b"one"
    with pytest.raises(OSError, match="failed earlier"):
        reader.read()
    reader.close()
    assert emitted_end(recorder) == ("error", 0)


def test_read_after_close_is_refused(reader: ObservedReader, recorder: EventRecorder) -> None:
    reader.close()
    reader.close()

    with pytest.raises(ValueError, match="closed"):
        reader.read()
    assert emitted_end(recorder) == ("ok", 0)


def test_failing_close_is_the_error_of_the_operation(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            return b"one"

        def close(self) -> None:
            raise OSError("cable")

    reader = ObservedReader(Failing(), progress)
    reader.read(2)
    with pytest.raises(OSError, match="cable"):
        reader.close()

    assert emitted_end(recorder) == ("error", 2)


@pytest.fixture
def seekable(manager: EventManager, progress: StoreProgressManager) -> Iterator[ObservedReader]:
    def start_another() -> StoreProgressManager:
        another = StoreProgressManager(manager, message="again")
        another.start()
        return another

    with ObservedReader(DataChunks(WHOLE), progress, start_another) as reader:
        yield reader


def test_tell_does_not_keep_the_operation_open(seekable: ObservedReader, recorder: EventRecorder) -> None:
    assert (seekable.seekable(), seekable.tell(), seekable.seek(0, io.SEEK_CUR)) == (True, 0, 0)
    assert io.BufferedReader(seekable).read() == WHOLE

    assert emitted_end(recorder) == ("ok", len(WHOLE))


@pytest.mark.parametrize("position", [0, 3])
def test_bytes_read_again_after_the_end_are_another_operation(
    position: int, seekable: ObservedReader, recorder: EventRecorder
) -> None:
    assert seekable.read() == WHOLE
    assert emitted_end(recorder) == ("ok", len(WHOLE))

    seekable.seek(position)
    assert seekable.read() == WHOLE[position:]
    seekable.seek(0)
    assert seekable.read(2) == WHOLE[:2]
    assert len(recorder.of(StoreProgressEndEvent)) == 1
    seekable.close()

    first, second = recorder.of(StoreProgressEndEvent)
    assert (first.bytes, second.bytes) == (len(WHOLE), len(WHOLE) - position + 2)
    assert (second.outcome, second.steps) == ("ok", -1)


def test_seek_after_the_end_without_a_read_is_no_operation(seekable: ObservedReader, recorder: EventRecorder) -> None:
    seekable.read()
    seekable.seek(0)
    seekable.seek(0, io.SEEK_END)
    assert seekable.read() == b""
    seekable.close()

    assert emitted_end(recorder) == ("ok", len(WHOLE))


def test_bytes_are_read_again_without_a_function_that_starts_an_operation(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    with ObservedReader(DataChunks(WHOLE), progress) as reader:
        reader.read()
        reader.seek(0)
        assert reader.read() == WHOLE

    assert emitted_end(recorder) == ("ok", len(WHOLE))


def test_error_after_a_seek_ends_the_operation(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    class Failing(DataChunks):
        def read_at(self, position: int, size: int) -> bytes:
            raise OSError("cable")

    reader = ObservedReader(Failing(WHOLE), progress)
    reader.seek(3)
    with pytest.raises(OSError, match="cable"):
        reader.read()
    assert emitted_end(recorder) == ("error", 0)

    reader.seek(0)
    with pytest.raises(OSError, match="failed earlier"):
        reader.read()
    reader.close()
    assert emitted_end(recorder) == ("error", 0)


@pytest.mark.usefixtures("every_step")
def test_steps_are_unknown_after_a_seek(seekable: ObservedReader, recorder: EventRecorder) -> None:
    seekable.read(2)
    seekable.seek(0)
    seekable.read(3)
    seekable.close()

    assert [(event.step, event.delta) for event in recorder.of(StoreProgressStepEvent)] == [(2, 2), (5, 3)]
    assert emitted_end(recorder) == ("ok", 5)


def test_observed_buffer_iterator_io_is_read_to_the_end(manager: EventManager, recorder: EventRecorder) -> None:
    observer = StoreObserver("archive", event_manager=manager)
    whole = bytes(3_000_000)

    assert observer.reading("a", BufferIteratorIO([whole])).read() == whole
    assert emitted_end(recorder) == ("ok", len(whole))


def test_failed_constructor_emits_nothing(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    for cls in (ObservedReader, ObservedIterator):
        with pytest.raises(TypeError):
            cls(None, progress)  # type: ignore[arg-type]  # that is what is tested

    assert emitted_end(recorder) is None
    progress.end()


def test_query_ends_after_the_last_result(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    listing = ObservedIterator([1, 2], progress)

    assert iter(listing) is listing
    assert [next(listing), next(listing)] == [1, 2]
    assert emitted_end(recorder) is None
    assert list(listing) == []
    listing.close()
    assert list(listing) == []
    assert emitted_end(recorder) == ("ok", 0)


def test_closed_query_has_no_more_results(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with ObservedIterator([1, 2], progress) as listing:
        assert next(listing) == 1

    assert list(listing) == []
    assert emitted_end(recorder) == ("ok", 0)


def test_error_ends_a_query(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("cable")

    listing = ObservedIterator(items(), progress)
    next(listing)
    with pytest.raises(OSError, match="cable"):
        next(listing)

    assert list(listing) == []
    assert emitted_end(recorder) == ("error", 0)


def test_failing_close_ends_a_query_with_that_error(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cable")

    listing = ObservedIterator(items(), progress)
    next(listing)
    with pytest.raises(OSError, match="cable"):
        listing.close()
    listing.close()

    assert emitted_end(recorder) == ("error", 0)


def test_chunk_is_counted_once_the_store_has_taken_it(manager: EventManager) -> None:
    progress = StoreProgressManager(manager)
    progress.start()
    chunks = count_written([b"one", b"three"], progress)

    next(chunks)
    assert progress.bytes == 0
    next(chunks)
    assert progress.bytes == 3
    assert list(chunks) == []
    assert progress.bytes == 8


def test_close_during_the_end_emits_nothing_more(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    reader = ObservedReader(iter((b"one",)), progress)
    second: list[BaseException | None] = []

    def close_meanwhile(_event: StoreProgressEndEvent) -> None:
        reader.close()  # as another thread might, while the first end event is being emitted
        second.append(None)

    progress.event_manager.connect(StoreProgressEndEvent, close_meanwhile)
    assert reader.read() == b"one"

    assert second == [None]
    assert emitted_end(recorder) == ("ok", 3)
