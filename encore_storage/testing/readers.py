"""The contract of readers: a value's bytes as a file, ranges of them, and files on disk."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest

from encore_storage.errors import ConflictError, KeyNotFoundError
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from encore_storage.testing.base import ContractBase
from encore_storage.testing.kit import content, put

Bounds = tuple[int | None, int | None]

RANGES: dict[Bounds, bytes] = {
    (None, None): b"0123456789",
    (0, 3): b"012",
    (2, 5): b"234",
    (3, None): b"3456789",
    (None, 4): b"0123",
    (8, 100): b"89",
    (10, None): b"",
    (100, 200): b"",
    (5, 5): b"",
    (5, 2): b"",
}

SEEKS = [(2, -5), (0, 3), (1, 2_000_000), (1, -1_900_000), (2, 0), (2, 7), (1, -9), (0, 0), (1, 0), (0, 1_048_576)]


class ReaderContract(ContractBase):
    """The rules of reading bytes as a file, whole or in part."""

    def test_data_is_a_file(self, store: AbstractStore) -> None:
        """The data of a value is a binary file: it reads bytes and lines, iterates, closes, and can be wrapped."""
        put(store, "a", b"one\ntwo\nthree")

        with store.get_data("a") as data:
            assert data.read(2) == b"on"
            assert data.readline() == b"e\n"
            assert list(data) == [b"two\n", b"three"]
        assert data.closed
        with store.get_data("a") as data, io.TextIOWrapper(data, "ascii") as text:  # type: ignore[type-var]  # the stub requires a name
            assert text.read() == "one\ntwo\nthree"

    @pytest.mark.parametrize("size", [0, 10, 3 * MEBIBYTE])
    def test_seekable_is_truthful(self, size: int, store: AbstractStore) -> None:
        """A stream that is `seekable()` seeks as `io.BytesIO` does; any other raises UnsupportedOperation."""
        data = bytes(range(251)) * (size // 251) + bytes(size % 251)
        put(store, "a", data)

        for start in (0, size // 3):
            with store.get_data_range("a", start) as stream:
                if not stream.seekable():
                    with pytest.raises(io.UnsupportedOperation):
                        stream.seek(0)
                    with pytest.raises(io.UnsupportedOperation):
                        stream.tell()
                    continue
                model = io.BytesIO(data[start:])
                for whence, offset in SEEKS:
                    assert stream.tell() == model.tell()
                    assert stream.seek(offset, whence) == model.seek(offset, whence)
                    assert stream.read(100_000) == model.read(100_000)
                stream.seek(0)
                assert stream.read() == data[start:]

    def test_read_takes_buffer_size_by_keyword(self, store: AbstractStore) -> None:
        """`read(buffer_size=)` is the name of the argument."""
        store.from_bytes("a", b"12345")

        with store.get_data("a") as data:
            assert data.read(buffer_size=3) == b"123"

    def test_value_iterates_in_chunks_with_progress(self, store: AbstractStore) -> None:
        """`iterdata` yields chunks of the given size and calls `progress(step=total)` after each."""
        put(store, "a", b"0123456789")
        totals: list[int] = []

        with store.get("a") as value:
            chunks = list(value.iterdata(4, lambda *, step: totals.append(step)))

        assert chunks == [b"0123", b"4567", b"89"]
        assert totals == [4, 8, 10]

    @pytest.mark.parametrize(("bounds", "expected"), RANGES.items(), ids=str)
    def test_range_excludes_its_end(self, bounds: Bounds, expected: bytes, store: AbstractStore) -> None:
        """A range is the bytes from `start` up to and without `end`, cut at the end of the value."""
        put(store, "a", b"0123456789")

        with store.get_data_range("a", *bounds) as data, store.get("a") as value, value.range(*bounds) as same:
            assert data.read() == expected
            assert same.read(-1) == expected

    def test_range_spans_many_chunks(self, store: AbstractStore) -> None:
        """A range of a value of 4 MiB starts and ends at the right bytes, wherever chunks of the store begin."""
        data = bytes(range(256)) * 16_384
        put(store, "a", data)

        with store.get_data_range("a", 1_000_001, 3_000_003) as part:
            assert part.read() == data[1_000_001:3_000_003]

    @pytest.mark.parametrize("bounds", [(-1, None), (None, -1), (0, -5)])
    def test_negative_bound_is_refused(self, bounds: Bounds, store: AbstractStore) -> None:
        """A negative bound raises ValueError: bytes are counted from the first."""
        put(store, "a", b"0123456789")

        with pytest.raises(ValueError, match="at least 0"):
            store.get_data_range("a", *bounds)
        with pytest.raises(ValueError, match="at least 0"):
            store.get("a").range(*bounds)

    @pytest.mark.parametrize("change", ["replaced", "deleted", "set anew"])
    @pytest.mark.parametrize("opened", ["before", "after"])
    def test_reader_of_a_changed_value_reads_the_old_bytes_or_fails(
        self, opened: str, change: str, store: AbstractStore
    ) -> None:
        """A reader of a value that is replaced or deleted reads the old bytes whole or raises; never a mixture."""
        old = b"old " * 500_000
        put(store, "a", old, {"state": "old"})
        value = store.get("a")
        if opened == "before":
            assert value.data.read(6) == b"old ol"

        if change != "replaced":
            store.delete("a")
        if change != "deleted":
            put(store, "a", b"new " * 500_000, {"state": "new"})

        try:
            rest = value.data.read(-1)
        except (ConflictError, KeyNotFoundError):
            rest = None
        value.close()
        assert rest in (None, old[6:] if opened == "before" else old)
        assert value.metadata == {"state": "old"}

    def test_reader_of_changed_metadata_reads_the_bytes_or_fails(self, store: AbstractStore) -> None:
        """If only the metadata is replaced, a reader of the value reads its bytes whole or raises ConflictError."""
        put(store, "a", b"bytes", {"state": "old"})
        with store.get("a") as value:
            store.set_metadata("a", {"state": "new"})
            with suppress(ConflictError):
                assert value.data.read(-1) == b"bytes"

    def test_bytes_are_copied_to_and_from_files(self, store: AbstractStore, tmp_path: Path) -> None:
        """`to_file` writes the bytes to a file; `from_file` reads them from one, and keeps the metadata."""
        path = tmp_path / "file"
        put(store, "a", b"bytes" * 1000, {"kind": "example"})

        store.to_file("a", path, buffer_size=7)
        assert path.read_bytes() == b"bytes" * 1000
        path.write_bytes(b"others")
        store.from_file("a", str(path), buffer_size=7)

        assert content(store, "a") == (b"others", {"kind": "example"})

    def test_to_file_of_a_missing_key_leaves_the_file(self, store: AbstractStore, tmp_path: Path) -> None:
        """`to_file` of a missing key raises KeyNotFoundError and leaves the file as it was."""
        path = tmp_path / "file"
        path.write_bytes(b"old")

        with pytest.raises(KeyNotFoundError):
            store.to_file("missing", path)

        assert path.read_bytes() == b"old"
