"""Value and StoredValue: bytes as a file, metadata, size and times."""

from __future__ import annotations

import io

import pytest

from encore_storage.streams import BufferIteratorIO
from encore_storage.value import Entry, StoredValue, Value, checked_range
from tests.storage.support import Source


class Closable(Source):
    """A source that can only be read and closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Opener:
    """Opens ranges of ten bytes, and records the arguments."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int | None, int | None]] = []

    def __call__(self, start: int | None, end: int | None) -> BufferIteratorIO:
        self.ranges.append((start, end))
        return BufferIteratorIO([b"0123456789"[slice(start, end)]])


def stored(opener: Opener) -> StoredValue:
    return StoredValue(Entry(10, {}, 1.0, 2.0), {"kind": "example"}, opener)


def test_value_has_its_arguments() -> None:
    data = io.BytesIO(b"bytes")
    value = Value(data, {"kind": "example"}, size=5, created=1.0, modified=2.0)

    assert value.data is data
    assert value.metadata == {"kind": "example"}
    assert (value.size, value.created, value.modified) == (5, 1.0, 2.0)


def test_value_attributes_default_to_unknown() -> None:
    value = Value(io.BytesIO())

    assert value.metadata == {}
    assert (value.size, value.created, value.modified) == (None, None, None)


def test_value_unpacks_as_data_and_metadata() -> None:
    data, metadata = Value(io.BytesIO(b"bytes"), {"kind": "example"})

    assert (data.read(), metadata) == (b"bytes", {"kind": "example"})


def test_value_closes_its_data_after_a_block() -> None:
    data = Closable()
    with Value(data) as value:
        assert value.data is data
        assert not data.closed

    assert data.closed


def test_range_seeks_the_data() -> None:
    value = Value(io.BytesIO(b"0123456789"))

    assert value.range(2, 5).read() == b"234"
    assert value.range(8).read() == b"89"
    assert value.range(None, 2).read() == b"01"
    assert value.range(5, 2).read() == b""
    assert value.range(20, 30).read() == b""


def test_range_is_read_to_the_end() -> None:
    value = Value(io.BytesIO(bytes(3_000_000)))

    assert len(value.range(1).read()) == 2_999_999
    assert len(io.TextIOWrapper(value.range(0), "ascii").read()) == 3_000_000  # type: ignore[type-var]  # the stub requires a name


def test_ranges_are_read_by_turns() -> None:
    value = Value(io.BytesIO(b"0123456789"))
    first, second = value.range(0, 5), value.range(5)

    assert second.read(1) + first.read(2) + second.read() + first.read() == b"5" + b"01" + b"6789" + b"234"


def test_range_of_unseekable_data_is_refused() -> None:
    with pytest.raises(io.UnsupportedOperation, match="cannot seek"):
        Value(Closable(b"bytes")).range(1)
    with pytest.raises(io.UnsupportedOperation, match="cannot seek"):
        Value(BufferIteratorIO([b"bytes"])).range(1)


@pytest.mark.parametrize(("start", "end", "name"), [(-1, None, "start"), (0, -1, "end")])
def test_negative_bound_is_refused(start: int, end: int | None, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0, not -1"):
        Value(io.BytesIO()).range(start, end)
    with pytest.raises(ValueError, match=f"{name} must be at least 0, not -1"):
        checked_range(start, end)


def test_range_without_bounds_is_everything() -> None:
    assert checked_range(None, None) == (0, None)
    assert checked_range(3, 0) == (3, 0)


def test_iterdata_yields_chunks_with_progress() -> None:
    totals: list[int] = []
    chunks = Value(io.BytesIO(b"0123456789")).iterdata(4, lambda *, step: totals.append(step))

    assert list(chunks) == [b"0123", b"4567", b"89"]
    assert totals == [4, 8, 10]


def test_stored_value_is_opened_once_and_on_demand() -> None:
    opener = Opener()
    value = stored(opener)
    assert opener.ranges == []

    assert value.data is value.data
    assert b"".join(value.iterdata()) == b"0123456789"
    assert opener.ranges == [(None, None)]


def test_range_of_a_stored_value_is_opened_separately() -> None:
    opener = Opener()
    value = stored(opener)

    assert value.range(2, 5).read() == b"234"
    assert value.range().read() == b"0123456789"
    assert opener.ranges == [(2, 5), (0, None)]


def test_stored_value_closes_the_data_it_opened() -> None:
    opener = Opener()
    stored(opener).close()
    assert opener.ranges == []

    with stored(opener) as value:
        data = value.data
    assert data.closed


def test_repr_shows_neither_bytes_nor_metadata() -> None:
    assert repr(Value(io.BytesIO(b"secret"), {"secret": 1}, size=6)) == "<Value: 6 bytes, modified None>"
    assert repr(stored(Opener())) == "<StoredValue: 10 bytes, modified 2.0>"
    assert "secret" not in repr(Entry(6, {}, 1.0, 2.0, token=b"secret"))
