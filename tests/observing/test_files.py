"""StoreObserver observes files and iterables as they are read or written."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from encore_events.testing import EventRecorder
from encore_storage import DictMemoryStore
from encore_storage.events import (
    StoreProgressEndEvent,
)
from encore_storage.observing import StoreObserver
from tests.observing.support import DATA, ended
from tests.storage.support import settled

READS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(),
    "read to the end": lambda file: b"".join(iter(lambda: file.read(4), b"")),
    "readline": lambda file: b"".join(iter(file.readline, b"")),
    "readlines": lambda file: b"".join(file.readlines()),
    "lines": b"".join,
    "read1": lambda file: b"".join(iter(file.read1, b"")),
    "buffered": lambda file: io.BufferedReader(file).read(),
    "text": lambda file: io.TextIOWrapper(file, "ascii").read().encode(),
}


class Pipe(io.BytesIO):
    """A file that cannot seek, and raises `error` once that is set."""

    error: BaseException | None = None

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(size)

    def close(self) -> None:
        super().close()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_to_the_end_ends_the_operation(
    read: Callable[[Any], Any], observer: StoreObserver, recorder: EventRecorder
) -> None:
    stream = observer.reading("a", Pipe(DATA), steps=len(DATA))

    assert read(stream) == DATA
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))
    stream.close()
    ended(recorder)


def test_seekable_file_ends_the_operation_when_it_is_closed(observer: StoreObserver, recorder: EventRecorder) -> None:
    with observer.reading("a", io.BytesIO(DATA)) as file:
        assert file.read() == DATA
        assert file.seek(0) == 0
        assert (file.read(3), file.tell(), file.seekable()) == (b"one", 3, True)
        assert recorder.of(StoreProgressEndEvent) == []

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA) + 3)


def test_early_close_is_ok(observer: StoreObserver, recorder: EventRecorder) -> None:
    file = observer.reading("a", Pipe(DATA))
    buffer = bytearray(4)
    assert file.readinto(buffer) == 4
    file.close()

    assert (ended(recorder).outcome, ended(recorder).bytes, file.closed) == ("ok", 4, True)


@pytest.mark.parametrize("use", [lambda file: file.read(), lambda file: file.close()], ids=["read", "close"])
def test_error_ends_the_operation(
    use: Callable[[Any], object], observer: StoreObserver, recorder: EventRecorder
) -> None:
    pipe = Pipe(DATA)
    file = observer.reading("a", pipe)
    pipe.error = OSError("cable")
    with pytest.raises(OSError, match="cable"):
        use(file)
    pipe.error = None

    assert (ended(recorder).outcome, ended(recorder).error_type) == ("error", "other")


def test_collected_file_is_cancelled(observer: StoreObserver, recorder: EventRecorder) -> None:
    file = observer.reading("a", io.BytesIO(DATA))
    file.read(1)
    del file
    gc.collect()
    settled()

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("cancelled", 1)


def test_chunks_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    assert list(observer.reading("a", iter([b"one", b"two"]))) == [b"one", b"two"]

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 6)


def test_closed_generator_is_ok(observer: StoreObserver, recorder: EventRecorder) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    with observer.reading("a", chunks()) as stream:
        next(stream)

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 3)


def test_written_bytes_are_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    target = io.BytesIO()
    with observer.writing("a", target) as file:
        assert file.write(b"one") == 3
        file.writelines([b"two", b"three"])
        file.seek(0)
        assert target.getvalue() == b"onetwothree"

    end = ended(recorder)
    assert (end.outcome, end.bytes, end.operation, end.direction) == ("ok", 11, "set", "write")


def test_exception_of_a_writing_block_is_an_error(observer: StoreObserver, recorder: EventRecorder) -> None:
    with contextlib.suppress(OSError), observer.writing("a", io.BytesIO()) as file:
        file.write(b"one")
        raise OSError("source")

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("error", 3)


def test_text_is_counted_in_encoded_bytes(observer: StoreObserver, recorder: EventRecorder) -> None:
    text = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with observer.writing("a", text) as file:
        file.write("Zürich")

    assert ended(recorder).bytes == 7


def test_started_operation_is_used(observer: StoreObserver, recorder: EventRecorder) -> None:
    operation = observer.operation("get_range", "a", direction="read")
    operation.start()
    observer.reading("a", Pipe(DATA), operation=operation).read()

    assert ended(recorder).operation == "get_range"


@pytest.mark.parametrize("stream", [b"bytes", "text", 1, None])
def test_other_object_is_refused_and_starts_nothing(
    stream: object, observer: StoreObserver, recorder: EventRecorder
) -> None:
    with pytest.raises(TypeError, match=r"cannot observe the reading of .*: pass a file"):
        observer.reading("a", stream)

    assert recorder.events == []


class Wrapper:
    """A file around another one, with other argument names, and an iterator that is not the file itself."""

    status = 200

    def __init__(self, data: bytes = DATA) -> None:
        self.file = io.BytesIO(data)
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.file

    def close(self) -> None:
        self.is_closed = True


class Response(Wrapper):
    def read(self, amt: int | None = None) -> bytes:
        return self.file.read(amt)


def test_observed_stream_has_the_methods_of_the_stream(observer: StoreObserver) -> None:
    chunks, wrapper, response = (observer.reading("a", stream) for stream in (iter([DATA]), Wrapper(), Response()))
    names = ("read", "read1", "readinto", "readline", "write", "status")

    assert [name for name in names if hasattr(chunks, name)] == []
    assert [name for name in names if hasattr(wrapper, name)] == ["status"]
    assert [name for name in names if hasattr(response, name)] == ["read", "status"]


def test_arguments_are_passed_on_by_name(observer: StoreObserver, recorder: EventRecorder) -> None:
    file = observer.reading("a", Response())
    assert (file.read(amt=3), file.read(amt=100), file.read(amt=100)) == (b"one", DATA[3:], b"")

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


@pytest.mark.parametrize("cls", [Wrapper, Response])
def test_iterable_is_closed_itself(
    cls: Callable[[], Wrapper], observer: StoreObserver, recorder: EventRecorder
) -> None:
    stream = cls()
    with observer.reading("a", stream) as observed:
        assert list(observed) == DATA.splitlines(keepends=True)

    assert stream.is_closed
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_generator_of_an_iterable_is_closed(observer: StoreObserver, recorder: EventRecorder) -> None:
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            try:
                yield b"one"
            finally:
                closed.append(True)

    stream = observer.reading("a", Chunks())
    next(stream)
    stream.close()

    assert closed == [True]
    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 3)


def buffered(file: Any) -> bytes:
    with io.BufferedReader(file) as reader:
        return reader.read()


def decoded(file: Any) -> bytes:
    with io.TextIOWrapper(file, "ascii") as reader:
        return reader.read().encode()


@pytest.mark.parametrize(
    "read", [lambda file: file.readall(), buffered, decoded], ids=["readall", "buffered", "decoded"]
)
def test_raw_file_is_counted(
    read: Callable[[Any], bytes], tmp_path: Path, observer: StoreObserver, recorder: EventRecorder
) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)
    file = observer.reading("a", path.open("rb", buffering=0))
    assert read(file) == DATA
    file.close()

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", len(DATA))


def test_nonblocking_file_without_bytes_is_not_exhausted(observer: StoreObserver, recorder: EventRecorder) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with observer.reading("a", io.FileIO(reader)) as file:
        assert (file.read(), file.read(5), file.readinto(bytearray(5))) == (None, None, None)
        os.write(writer, b"one")
        assert file.read(5) == b"one"
        os.close(writer)
        assert recorder.of(StoreProgressEndEvent) == []
        assert file.read(5) == b""

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 3)


def test_replaced_characters_do_not_fail(observer: StoreObserver, recorder: EventRecorder) -> None:
    text = io.TextIOWrapper(io.BytesIO(), "ascii", errors="replace")
    with observer.writing("a", text) as file:
        file.write("Zürich")

    assert ended(recorder).bytes == 6


def test_iterable_of_other_objects_is_not_counted(observer: StoreObserver, recorder: EventRecorder) -> None:
    assert list(observer.reading("a", [(b"one", True), None])) == [(b"one", True), None]

    assert (ended(recorder).outcome, ended(recorder).bytes) == ("ok", 0)


def test_writing_to_an_iterable_is_refused(observer: StoreObserver, recorder: EventRecorder) -> None:
    with pytest.raises(TypeError, match="cannot observe the writing of 'list': pass a file"):
        observer.writing("a", [b"one"])

    assert recorder.events == []


def test_closed_file_fails_when_it_is_read(observer: StoreObserver, recorder: EventRecorder) -> None:
    file = io.BytesIO(DATA)
    file.close()
    observed = observer.reading("a", file)
    with pytest.raises(ValueError, match="closed"):
        observed.read()

    assert ended(recorder).outcome == "error"


def test_failing_enter_ends_the_operation(observer: StoreObserver, recorder: EventRecorder) -> None:
    file = io.BytesIO(DATA)
    file.close()
    with pytest.raises(ValueError, match="closed"), observer.reading("a", file):
        pass

    assert ended(recorder).outcome == "error"


def test_copy_of_an_observed_file_reads_on(observer: StoreObserver) -> None:
    file = observer.reading("a", io.BytesIO(DATA))

    assert copy.copy(file).read() == DATA


def test_exception_in_a_forked_child_is_not_replaced(observer: StoreObserver) -> None:
    with observer.transaction() as transaction, observer.reading("a", io.BytesIO(DATA)) as file:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe()
        child = context.Process(target=_leave_blocks, args=([transaction, file], sender))
        child.start()
        assert receiver.recv() == "SystemExit()"
        child.join()


def _leave_blocks(inherited: list[Any], sender: Any) -> None:
    """Leave blocks of the parent with an exception, and send the exception that arrives."""
    try:
        with contextlib.ExitStack() as blocks:
            for block in inherited:
                blocks.push(block)
            raise SystemExit
    except BaseException as error:
        sender.send(repr(error))


def test_file_that_would_block_is_read_on(observer: StoreObserver, recorder: EventRecorder) -> None:
    class Slow(io.BytesIO):
        is_ready = False

        def write(self, data: Any, /) -> int:
            if not self.is_ready:
                super().write(data[:2])
                raise BlockingIOError(0, "would block", 2)
            return super().write(data)

    target = Slow()
    with observer.writing("a", target) as file:
        with pytest.raises(BlockingIOError):
            file.write(b"one")
        target.is_ready = True
        file.write(b"e")

    assert (ended(recorder).outcome, ended(recorder).bytes, target.closed) == ("ok", 3, True)


def test_threads_read_one_file_exactly(observer: StoreObserver, recorder: EventRecorder) -> None:
    size = 20_000
    lock = threading.Lock()
    received = list[int]()

    def read(file: Any) -> None:
        while data := file.read(1):
            with lock:
                received.append(len(data))

    with observer.reading("a", io.BytesIO(b"x" * size)) as file, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read, file) for _ in range(4)]:
            done.result()

    assert sum(received) == ended(recorder).bytes == size


def test_threads_that_read_one_value_get_no_error_of_the_observer(store: DictMemoryStore) -> None:
    EventRecorder(store.event_manager)
    store.from_bytes("a", b"x" * 20_000)

    def read(file: Any) -> None:
        while file.read(1):
            pass

    with store.get_data("a") as file, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read, file) for _ in range(4)]:
            done.result()
