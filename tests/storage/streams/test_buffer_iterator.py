"""A file-like object read as chunks."""

import array
import io
from typing import Any

import pytest

from encore_storage.streams import MEBIBYTE, buffer_iterator


class Source:
    """Gives its answers one read after the other, and knows what it was asked for."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []

    def read(self, size: int, /) -> Any:
        self.asked.append(size)
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, Exception):
            raise answer
        return answer


class RecordingBytesIO(io.BytesIO):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked: list[int | None] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked.append(size)
        return super().read(size)


def test_a_chunk_has_a_mebibyte_unless_told_otherwise() -> None:
    chunks = list(buffer_iterator(io.BytesIO(bytes(2 * MEBIBYTE + 3))))

    assert [len(chunk) for chunk in chunks] == [MEBIBYTE, MEBIBYTE, 3]


def test_the_chunks_are_the_source_cut_at_buffer_size() -> None:
    assert list(buffer_iterator(io.BytesIO(b"abcdefgh"), 3)) == [b"abc", b"def", b"gh"]


def test_an_empty_source_has_no_chunks() -> None:
    assert list(buffer_iterator(io.BytesIO())) == []


def test_the_source_is_not_read_before_the_first_chunk_is_asked_for() -> None:
    source = Source(b"a", b"b")
    chunks = buffer_iterator(source)
    assert source.asked == []

    next(chunks)

    assert len(source.asked) == 1


def test_a_chunk_is_the_object_that_the_source_gave() -> None:
    given = b"given"

    assert next(buffer_iterator(Source(given))) is given


def test_the_source_is_never_asked_for_more_than_max_bytes_in_all() -> None:
    source = RecordingBytesIO(bytes(100))

    assert sum(map(len, buffer_iterator(source, 4, max_bytes=10))) == 10
    assert source.asked == [4, 4, 2]


def test_a_max_bytes_below_buffer_size_leaves_the_rest_in_the_source() -> None:
    source = io.BytesIO(b"0123456789rest")

    assert list(buffer_iterator(source, max_bytes=10)) == [b"0123456789"]
    assert source.read() == b"rest"


def test_a_max_bytes_of_zero_reads_nothing() -> None:
    source = Source(b"a")

    assert list(buffer_iterator(source, max_bytes=0)) == []
    assert source.asked == []


def test_a_source_that_ends_before_max_bytes_ends_the_chunks() -> None:
    assert list(buffer_iterator(io.BytesIO(b"abc"), 2, max_bytes=100)) == [b"ab", b"c"]


def test_a_short_read_gives_a_shorter_chunk_and_is_made_up_for() -> None:
    source = Source(b"a", b"bc", b"d")

    assert list(buffer_iterator(source, 3, max_bytes=4)) == [b"a", b"bc", b"d"]
    assert source.asked == [3, 3, 1]


def test_progress_is_told_the_total_once_for_each_chunk_and_not_for_the_end() -> None:
    steps: list[int] = []

    def progress(*, step: int) -> None:
        steps.append(step)

    list(buffer_iterator(io.BytesIO(b"abcdefgh"), 3, progress))

    assert steps == [3, 6, 8]


def test_progress_is_not_told_twice_where_max_bytes_cuts() -> None:
    steps: list[int] = []

    list(buffer_iterator(io.BytesIO(bytes(100)), 4, lambda *, step: steps.append(step), max_bytes=10))

    assert steps == [4, 8, 10]


def test_progress_is_told_before_the_chunk_is_handed_out() -> None:
    steps: list[int] = []
    chunks = buffer_iterator(io.BytesIO(b"abc"), 1, lambda *, step: steps.append(step))

    next(chunks)

    assert steps == [1]


def test_progress_may_be_an_object_that_can_be_called() -> None:
    class Progress:
        total = 0

        def __call__(self, message: str | None = None, step: int = 0) -> None:
            self.total = step

    progress = Progress()
    list(buffer_iterator(io.BytesIO(b"abc"), 1, progress))

    assert progress.total == 3


def test_an_error_of_progress_reaches_who_reads() -> None:
    def progress(*, step: int) -> None:
        raise LookupError(step)

    with pytest.raises(LookupError):
        list(buffer_iterator(io.BytesIO(b"abc"), 1, progress))


def test_an_error_of_the_source_reaches_who_reads_after_the_chunks_before_it() -> None:
    chunks = buffer_iterator(Source(b"a", OSError("cable pulled")))

    assert next(chunks) == b"a"
    with pytest.raises(OSError, match="cable pulled"):
        next(chunks)


def test_the_source_stays_open_when_the_iterator_is_closed() -> None:
    source = io.BytesIO(b"abc")
    chunks = buffer_iterator(source, 1)
    next(chunks)

    chunks.close()

    assert source.read() == b"bc"


def test_a_buffer_that_the_source_uses_again_does_not_change_the_chunks_before() -> None:
    class Reusing:
        def __init__(self) -> None:
            self.buffer = bytearray(b"a")

        def read(self, size: int, /) -> bytearray:
            self.buffer[:] = b"" if self.buffer == b"c" else bytes([self.buffer[0] + 1])
            return self.buffer

    assert list(buffer_iterator(Reusing())) == [b"b", b"c"]


def test_a_view_of_wider_items_counts_its_bytes() -> None:
    steps: list[int] = []
    view = memoryview(array.array("H", [1, 2, 3]))

    chunks = list(buffer_iterator(Source(view), progress=lambda *, step: steps.append(step)))

    assert chunks == [view.tobytes()]
    assert steps == [6]


def test_a_text_source_is_refused_with_the_advice_to_open_it_in_binary_mode() -> None:
    source = io.StringIO("text")

    with pytest.raises(TypeError, match=r"StringIO.* gave str, not bytes; open it in binary mode"):
        next(buffer_iterator(source))  # type: ignore[arg-type]  # the mistake under test


def test_a_text_source_that_is_empty_is_refused_too() -> None:
    with pytest.raises(TypeError, match="binary mode"):
        next(buffer_iterator(io.StringIO()))  # type: ignore[arg-type]  # the mistake under test


def test_a_source_that_does_not_block_is_refused_when_it_has_nothing_to_give() -> None:
    with pytest.raises(BlockingIOError, match=r"Source object.* gave None"):
        next(buffer_iterator(Source(None)))


@pytest.mark.parametrize("answer", [3, [b"a"], object()])
def test_a_source_that_gives_something_else_is_refused(answer: object) -> None:
    with pytest.raises(TypeError, match=f"gave {type(answer).__name__}, not bytes"):
        next(buffer_iterator(Source(answer)))


def test_a_source_that_gives_more_than_it_was_asked_for_is_refused() -> None:
    with pytest.raises(OSError, match="gave 5 bytes when asked for 4"):
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
def test_a_wrong_argument_is_refused_by_the_call_itself(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        buffer_iterator(**{"filelike": Source(), **arguments})
