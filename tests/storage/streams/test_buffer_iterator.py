"""Tests of `buffer_iterator`."""

import array
import io
from typing import Any

import pytest

from encore_storage.streams import MEBIBYTE, buffer_iterator


class Source:
    """A source that returns its answers one per read and records the requested sizes."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requested: list[int] = []

    def read(self, size: int, /) -> Any:
        self.requested.append(size)
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, Exception):
            raise answer
        return answer


class RecordingBytesIO(io.BytesIO):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.requested: list[int | None] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.requested.append(size)
        return super().read(size)


def test_buffer_size_defaults_to_a_mebibyte() -> None:
    chunks = list(buffer_iterator(io.BytesIO(bytes(2 * MEBIBYTE + 3))))

    assert [len(chunk) for chunk in chunks] == [MEBIBYTE, MEBIBYTE, 3]


def test_chunks_have_buffer_size() -> None:
    assert list(buffer_iterator(io.BytesIO(b"abcdefgh"), 3)) == [b"abc", b"def", b"gh"]


def test_empty_source_yields_no_chunks() -> None:
    assert list(buffer_iterator(io.BytesIO())) == []


def test_source_is_read_lazily() -> None:
    source = Source(b"a", b"b")
    chunks = buffer_iterator(source)
    assert source.requested == []

    next(chunks)

    assert len(source.requested) == 1


def test_chunk_is_not_copied() -> None:
    chunk = b"chunk"

    assert next(buffer_iterator(Source(chunk))) is chunk


def test_requests_never_exceed_max_bytes_in_total() -> None:
    source = RecordingBytesIO(bytes(100))

    assert sum(map(len, buffer_iterator(source, 4, max_bytes=10))) == 10
    assert source.requested == [4, 4, 2]


def test_max_bytes_below_buffer_size_leaves_the_rest_in_the_source() -> None:
    source = io.BytesIO(b"0123456789rest")

    assert list(buffer_iterator(source, max_bytes=10)) == [b"0123456789"]
    assert source.read() == b"rest"


def test_max_bytes_zero_reads_nothing() -> None:
    source = Source(b"a")

    assert list(buffer_iterator(source, max_bytes=0)) == []
    assert source.requested == []


def test_source_shorter_than_max_bytes_ends_the_iteration() -> None:
    assert list(buffer_iterator(io.BytesIO(b"abc"), 2, max_bytes=100)) == [b"ab", b"c"]


def test_short_read_yields_a_shorter_chunk_and_reading_continues() -> None:
    source = Source(b"a", b"bc", b"d")

    assert list(buffer_iterator(source, 3, max_bytes=4)) == [b"a", b"bc", b"d"]
    assert source.requested == [3, 3, 1]


def test_progress_is_called_with_the_total_once_per_chunk() -> None:
    steps: list[int] = []

    def progress(*, step: int) -> None:
        steps.append(step)

    list(buffer_iterator(io.BytesIO(b"abcdefgh"), 3, progress))

    assert steps == [3, 6, 8]


def test_progress_is_called_once_for_the_chunk_cut_by_max_bytes() -> None:
    steps: list[int] = []

    list(buffer_iterator(io.BytesIO(bytes(100)), 4, lambda *, step: steps.append(step), max_bytes=10))

    assert steps == [4, 8, 10]


def test_progress_is_called_before_the_chunk_is_yielded() -> None:
    steps: list[int] = []
    chunks = buffer_iterator(io.BytesIO(b"abc"), 1, lambda *, step: steps.append(step))

    next(chunks)

    assert steps == [1]


def test_progress_may_be_a_callable_object() -> None:
    class Progress:
        total = 0

        def __call__(self, message: str | None = None, step: int = 0) -> None:
            self.total = step

    progress = Progress()
    list(buffer_iterator(io.BytesIO(b"abc"), 1, progress))

    assert progress.total == 3


def test_progress_error_propagates() -> None:
    def progress(*, step: int) -> None:
        raise LookupError(step)

    with pytest.raises(LookupError):
        list(buffer_iterator(io.BytesIO(b"abc"), 1, progress))


def test_source_error_propagates_after_earlier_chunks() -> None:
    chunks = buffer_iterator(Source(b"a", OSError("cable pulled")))

    assert next(chunks) == b"a"
    with pytest.raises(OSError, match="cable pulled"):
        next(chunks)


def test_closing_the_iterator_leaves_the_source_open() -> None:
    source = io.BytesIO(b"abc")
    chunks = buffer_iterator(source, 1)
    next(chunks)

    chunks.close()

    assert source.read() == b"bc"


def test_reused_buffer_does_not_change_earlier_chunks() -> None:
    class Reusing:
        def __init__(self) -> None:
            self.buffer = bytearray(b"a")

        def read(self, size: int, /) -> bytearray:
            self.buffer[:] = b"" if self.buffer == b"c" else bytes([self.buffer[0] + 1])
            return self.buffer

    assert list(buffer_iterator(Reusing())) == [b"b", b"c"]


def test_memoryview_of_wider_items_is_counted_in_bytes() -> None:
    steps: list[int] = []
    view = memoryview(array.array("H", [1, 2, 3]))

    chunks = list(buffer_iterator(Source(view), progress=lambda *, step: steps.append(step)))

    assert chunks == [view.tobytes()]
    assert steps == [6]


def test_text_source_raises_type_error_with_advice() -> None:
    source = io.StringIO("text")

    with pytest.raises(TypeError, match=r"StringIO.* returned str, not bytes: open it in binary mode"):
        next(buffer_iterator(source))  # type: ignore[arg-type]  # the mistake under test


def test_empty_text_source_raises_type_error() -> None:
    with pytest.raises(TypeError, match="binary mode"):
        next(buffer_iterator(io.StringIO()))  # type: ignore[arg-type]  # the mistake under test


def test_nonblocking_source_without_data_raises_blocking_io_error() -> None:
    with pytest.raises(BlockingIOError, match=r"Source object.* returned None"):
        next(buffer_iterator(Source(None)))


@pytest.mark.parametrize("answer", [3, [b"a"], object()])
def test_other_types_raise_type_error(answer: object) -> None:
    with pytest.raises(TypeError, match=f"returned {type(answer).__name__}, not bytes"):
        next(buffer_iterator(Source(answer)))


def test_source_returning_too_much_raises_os_error() -> None:
    with pytest.raises(OSError, match=r"returned 5 bytes from read\(4\)"):
        next(buffer_iterator(Source(b"abcde"), 4))


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"buffer_size": 0}, ValueError, "buffer_size must be at least 1, not 0"),
        ({"buffer_size": -1}, ValueError, "buffer_size must be at least 1, not -1"),
        ({"buffer_size": True}, TypeError, "buffer_size must be an int, not True"),
        ({"buffer_size": 1.0}, TypeError, r"buffer_size must be an int, not 1\.0"),
        ({"buffer_size": None}, TypeError, "buffer_size must be an int, not None"),
        ({"max_bytes": -1}, ValueError, "max_bytes must be at least 0, not -1"),
        ({"max_bytes": False}, TypeError, "max_bytes must be an int, not False"),
        ({"progress": 7}, TypeError, "progress must be callable, not 7"),
        ({"filelike": b"data"}, TypeError, "type bytes has no read"),
    ],
)
def test_invalid_argument_is_rejected_by_the_call(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        buffer_iterator(**{"filelike": Source(), **arguments})
