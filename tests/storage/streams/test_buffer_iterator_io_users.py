"""Tests of `BufferIteratorIO` with the standard library's readers."""

import gzip
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Literal

import pytest

from encore_storage.streams import BufferIteratorIO, buffer_iterator, tee

DATA = bytes(range(256)) * 300


def in_chunks(data: bytes, size: int = 1_000) -> Iterator[bytes]:
    """Yield the data in chunks of an unusual size, each followed by an empty chunk."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


@pytest.fixture
def file() -> BufferIteratorIO:
    return BufferIteratorIO(in_chunks(DATA))


def test_buffer_iterator_reads_it(file: BufferIteratorIO) -> None:
    assert b"".join(buffer_iterator(file, 777)) == DATA


def test_tee_reads_it(file: BufferIteratorIO) -> None:
    assert [stream.read() for stream in tee(file, 2, 777)] == [DATA, DATA]


def test_textiowrapper_decodes_characters_split_between_chunks() -> None:
    text = "naïve café\r\nüber 10 €\nende"

    file = BufferIteratorIO(in_chunks(text.encode(), 1))

    with io.TextIOWrapper(file, encoding="utf-8") as lines:  # type: ignore[type-var]  # typeshed also requires a name
        assert list(lines) == ["naïve café\n", "über 10 €\n", "ende"]


def test_closing_textiowrapper_closes_it(file: BufferIteratorIO) -> None:
    io.TextIOWrapper(file, encoding="latin-1").close()  # type: ignore[type-var]  # typeshed also requires a name

    assert file.closed


def test_bufferedreader_reads_it(file: BufferIteratorIO) -> None:
    reader = io.BufferedReader(file)

    assert reader.peek(1)[:1] == DATA[:1]
    assert reader.read() == DATA


def test_copyfileobj_copies_it(file: BufferIteratorIO) -> None:
    target = io.BytesIO()

    shutil.copyfileobj(file, target)

    assert target.getvalue() == DATA


def test_file_digest_hashes_it(file: BufferIteratorIO) -> None:
    assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(DATA).digest()


def test_gzip_unpacks_it() -> None:
    packed = BufferIteratorIO(in_chunks(gzip.compress(DATA), 10))

    with gzip.open(packed) as unpacked:
        assert unpacked.read() == DATA


@pytest.mark.parametrize("mode", ["r|", "r|gz", "r|*"])
def test_tarfile_unpacks_it_in_stream_mode(mode: Literal["r|", "r|gz", "r|*"]) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w|" if mode == "r|" else "w|gz") as packed:
        for name in ("one", "two"):
            member = tarfile.TarInfo(name)
            member.size = len(DATA)
            packed.addfile(member, BufferIteratorIO(in_chunks(DATA)))

    found = {}
    with tarfile.open(fileobj=BufferIteratorIO(in_chunks(archive.getvalue(), 700)), mode=mode) as packed:
        for member in packed:
            content = packed.extractfile(member)
            assert content is not None
            found[member.name] = content.read()

    assert found == {"one": DATA, "two": DATA}


def test_zipfile_packs_a_member_from_it(file: BufferIteratorIO) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("member", "w") as member:
        shutil.copyfileobj(file, member)

    with zipfile.ZipFile(archive) as packed:
        assert packed.read("member") == DATA
