"""What is read from a store, observed to its end: by whatever way it is read, and exactly once."""

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
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.observing.streams import ObservedIterator, ObservedReader, counted

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


def told_end(recorder: EventRecorder) -> tuple[str, int] | None:
    """Outcome and bytes of the end, if it has been told."""
    if not recorder.of(StoreProgressEndEvent):
        return None
    end = recorder.one(StoreProgressEndEvent)
    return end.outcome, end.bytes


def into(reader: Any, method: str, size: int) -> bytes:
    """What `readinto` or `readinto1` put into a buffer of that size."""
    buffer = bytearray(size)
    return bytes(buffer[: getattr(reader, method)(buffer)])


READS: dict[str, tuple[Callable[[ObservedReader], bytes], bytes]] = {
    "read()": (lambda reader: reader.read(), WHOLE),
    "read(None)": (lambda reader: reader.read(None), WHOLE),
    "read(-1)": (lambda reader: reader.read(-1), WHOLE),
    "read, too much": (lambda reader: reader.read(100), WHOLE),
    "readall, by lines": (b"".join, WHOLE),
    "readlines": (lambda reader: b"".join(reader.readlines()), WHOLE),
    "readinto, too much": (lambda reader: into(reader, "readinto", 100), WHOLE),
    "hashing": (lambda reader: hashlib.file_digest(reader, "sha256").digest(), hashlib.sha256(WHOLE).digest()),
    "text": (lambda reader: io.TextIOWrapper(reader, "ascii").read().encode(), WHOLE),  # type: ignore[type-var]  # typeshed wants a name
    "buffered": (lambda reader: io.BufferedReader(reader).read(), WHOLE),
}
PARTS: dict[str, tuple[Callable[[ObservedReader], bytes], bytes]] = {
    "read": (lambda reader: reader.read(6), b"one\ntw"),
    "read, nothing": (lambda reader: reader.read(0), b""),
    "read1": (lambda reader: reader.read1(), b"one\ntwo\n"),
    "read1, a part": (lambda reader: reader.read1(2), b"on"),
    "read1, nothing": (lambda reader: reader.read1(0), b""),
    "readline": (lambda reader: reader.readline(), b"one\n"),
    "readline, a part": (lambda reader: reader.readline(2), b"on"),
    "readline, nothing": (lambda reader: reader.readline(0), b""),
    "readinto": (lambda reader: into(reader, "readinto", 6), b"one\ntw"),
    "readinto, nothing": (lambda reader: into(reader, "readinto", 0), b""),
    "readinto1": (lambda reader: into(reader, "readinto1", 100), b"one\ntwo\n"),
}


@pytest.mark.parametrize(("read", "expected"), READS.values(), ids=READS)
def test_what_reads_to_the_end_ends_the_operation(
    read: Callable[[ObservedReader], bytes], expected: bytes, reader: ObservedReader, recorder: EventRecorder
) -> None:
    assert read(reader) == expected
    assert told_end(recorder) == ("ok", len(WHOLE))


@pytest.mark.parametrize(("read", "expected"), PARTS.values(), ids=PARTS)
def test_what_reads_a_part_ends_nothing_and_the_close_does(
    read: Callable[[ObservedReader], bytes], expected: bytes, reader: ObservedReader, recorder: EventRecorder
) -> None:
    assert read(reader) == expected
    assert told_end(recorder) is None

    reader.close()
    assert told_end(recorder) == ("ok", len(expected))


@pytest.mark.parametrize("method", ["read1", "readline", "readinto", "readinto1"])
def test_a_read_that_finds_nothing_ends_the_operation(
    method: str, reader: ObservedReader, recorder: EventRecorder
) -> None:
    assert reader.read(len(WHOLE)) == WHOLE
    assert told_end(recorder) is None

    found = into(reader, method, 5) if "into" in method else getattr(reader, method)(5)
    assert found == b""
    assert told_end(recorder) == ("ok", len(WHOLE))


def test_it_can_be_copied(reader: ObservedReader, recorder: EventRecorder) -> None:
    target = io.BytesIO()
    shutil.copyfileobj(reader, target, 3)

    assert target.getvalue() == WHOLE
    assert told_end(recorder) == ("ok", len(WHOLE))


@pytest.mark.usefixtures("every_step")
def test_it_tells_what_its_reader_got(manager: EventManager, recorder: EventRecorder) -> None:
    progress = StoreProgressManager(manager, steps=len(WHOLE))
    progress.start()
    with ObservedReader(iter(CHUNKS), progress) as reader:
        reader.read(2)
        reader.readline()
        reader.read()

    assert [event.step for event in recorder.of(StoreProgressStepEvent)] == [2, 4]
    assert told_end(recorder) == ("ok", len(WHOLE))


def test_an_error_ends_the_operation_and_what_is_read_after_it_is_not_part_of_it(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise OSError("cable")

    reader = ObservedReader(chunks(), progress)
    with pytest.raises(OSError, match="cable"):
        reader.read()
    assert told_end(recorder) == ("error", 0)

    assert reader.read(3) == b"one"
    with pytest.raises(OSError, match="failed earlier"):
        reader.read()
    reader.close()
    assert told_end(recorder) == ("error", 0)


def test_reading_after_the_close_is_refused_and_changes_nothing(
    reader: ObservedReader, recorder: EventRecorder
) -> None:
    reader.close()
    reader.close()

    with pytest.raises(ValueError, match="closed"):
        reader.read()
    assert told_end(recorder) == ("ok", 0)


def test_a_close_that_fails_is_the_error_of_the_operation(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
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

    assert told_end(recorder) == ("error", 2)


def test_what_could_not_be_made_is_collected_silently(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    for cls in (ObservedReader, ObservedIterator):
        with pytest.raises(TypeError):
            cls(None, progress)  # type: ignore[arg-type]  # that is what is tested

    assert told_end(recorder) is None
    progress.end()


def test_the_results_of_a_query_come_one_by_one_and_the_last_is_the_end(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
    listing = ObservedIterator([1, 2], progress)

    assert iter(listing) is listing
    assert [next(listing), next(listing)] == [1, 2]
    assert told_end(recorder) is None
    assert list(listing) == []
    listing.close()
    assert list(listing) == []
    assert told_end(recorder) == ("ok", 0)


def test_a_query_that_is_closed_gives_no_more_results(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    with ObservedIterator([1, 2], progress) as listing:
        assert next(listing) == 1

    assert list(listing) == []
    assert told_end(recorder) == ("ok", 0)


def test_an_error_of_a_query_is_the_end(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("cable")

    listing = ObservedIterator(items(), progress)
    next(listing)
    with pytest.raises(OSError, match="cable"):
        next(listing)

    assert list(listing) == []
    assert told_end(recorder) == ("error", 0)


def test_a_query_whose_close_fails_is_over_with_that_error(
    progress: StoreProgressManager, recorder: EventRecorder
) -> None:
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

    assert told_end(recorder) == ("error", 0)


def test_what_is_written_is_counted_once_the_store_has_taken_it(manager: EventManager) -> None:
    progress = StoreProgressManager(manager)
    progress.start()
    chunks = counted([b"one", b"three"], progress)

    next(chunks)
    assert progress.bytes == 0
    next(chunks)
    assert progress.bytes == 3
    assert list(chunks) == []
    assert progress.bytes == 8


def test_whoever_comes_second_to_the_end_tells_nothing(progress: StoreProgressManager, recorder: EventRecorder) -> None:
    reader = ObservedReader(iter((b"one",)), progress)
    second: list[BaseException | None] = []

    def close_meanwhile(_event: StoreProgressEndEvent) -> None:
        reader.close()  # as another thread would, in the middle of the first one's telling
        second.append(None)

    progress.event_manager.connect(StoreProgressEndEvent, close_meanwhile)
    assert reader.read() == b"one"

    assert second == [None]
    assert told_end(recorder) == ("ok", 3)
