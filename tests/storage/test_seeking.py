"""The streams of our stores can seek, so what needs files that can seek reads them."""

from __future__ import annotations

import gc
import hashlib
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from encore_events.testing import EventRecorder
from encore_storage.errors import ConflictError, StoreConnectionError
from encore_storage.events import StoreProgressEndEvent
from encore_storage.stores import SqliteStore
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from tests.storage.sqlite.support import run_sql
from tests.storage.support import open_files, put, settled

FRAME = pd.DataFrame({"number": range(1000), "name": [f"name {number}" for number in range(1000)]})
BYTES = bytes(range(251)) * 12_000  # three rows of an SqliteStore


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(20):
            archive.writestr(f"member {number}", random.Random(number).randbytes(100_000))
    return file.getvalue()


def unzipped(file: Any) -> list[bytes]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return [archive.read(name) for name in reversed(archive.namelist())]


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(5):
            member = tarfile.TarInfo(f"member {number}")
            member.size = 100_000
            archive.addfile(member, io.BytesIO(bytes([number]) * 100_000))
    return file.getvalue()


def untarred(file: Any) -> list[Any]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        return [archive.extractfile(member).read() for member in reversed(archive.getmembers())]  # type: ignore[union-attr]  # all are files


def digest_and_content(file: Any) -> tuple[str, bytes]:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest, file.read()


def buffered(file: Any) -> list[Any]:
    reader = io.BufferedReader(file)
    return [reader.seek(-10, 2), reader.read(), reader.seek(5), reader.read(9)]


def decoded(file: Any) -> list[Any]:
    text = io.TextIOWrapper(file, "ascii")
    return [text.readline(), text.tell(), text.seek(0), text.read()]


def decompressed(file: Any) -> bytes:
    with lzma.open(file) as content:
        content.seek(-10, 2)
        return content.read()


READERS: dict[str, tuple[Callable[[], bytes], Callable[[Any], object]]] = {
    "zipfile": (zipped, unzipped),
    "tarfile": (tarred, untarred),
    "lzma": (lambda: lzma.compress(BYTES[:100_000]), decompressed),
    "digest, then read": (lambda: BYTES, digest_and_content),
    "BufferedReader": (lambda: BYTES, buffered),
    "TextIOWrapper": (lambda: b"one\ntwo\nthree\n", decoded),
    "read_csv": (lambda: FRAME.to_csv().encode(), lambda file: pd.read_csv(file).to_dict()),
    "read_parquet": (FRAME.to_parquet, lambda file: pd.read_parquet(file).to_dict()),
    "read_json": (lambda: FRAME.to_json().encode(), lambda file: pd.read_json(file).to_dict()),
    "is_zipfile": (lambda: b"short", zipfile.is_zipfile),
}


@pytest.mark.parametrize(("make", "read"), READERS.values(), ids=READERS)
def test_reader_finds_what_it_finds_in_a_file(
    make: Callable[[], bytes], read: Callable[[Any], object], store: AbstractStore, recorder: EventRecorder
) -> None:
    data = make()
    store.from_bytes("a", data)
    recorder.clear()

    with store.get_data("a") as stream:
        assert stream.seekable()
        assert read(stream) == read(io.BytesIO(data))

    ends = recorder.of(StoreProgressEndEvent)
    assert {end.outcome for end in ends} == {"ok"}
    assert len(ends) == (2 if read in (digest_and_content, decompressed) else 1)  # these read on after the end


def test_seeking_stream_agrees_with_bytesio(store: AbstractStore) -> None:
    chance = random.Random(16)
    store.from_bytes("a", BYTES)
    for start, end in ((0, None), (1_000_000, 2_500_000)):
        model = io.BytesIO(BYTES[start:end])
        with store.get_data_range("a", start, end) as stream:
            for _ in range(200):
                whence = chance.choice([0, 1, 2])
                offset = chance.randint(0 if whence == 0 else -MEBIBYTE, 3 * MEBIBYTE if whence == 0 else 1000)
                size = chance.choice([0, 1, 100, 70_000, 2 * MEBIBYTE])
                assert stream.seek(offset, whence) == model.seek(offset, whence)
                assert stream.read(size) == model.read(size)


def test_values_and_ranges_of_values_can_seek(store: AbstractStore) -> None:
    store.from_bytes("a", BYTES)

    with store.get("a") as value, value.range(2_000_000, 2_000_010) as part, value.range(7, 7) as nothing:
        assert (value.data.seek(-4, 2), value.data.read()) == (len(BYTES) - 4, BYTES[-4:])
        assert (part.seek(5), part.read()) == (5, BYTES[2_000_005:2_000_010])
        assert (nothing.seekable(), nothing.seek(0, 2), nothing.read()) == (True, 0, b"")


def test_collected_streams_that_sought_release_what_they_hold(store: AbstractStore, recorder: EventRecorder) -> None:
    store.from_bytes("a", BYTES)
    store.to_bytes("a")
    before = open_files()
    recorder.clear()

    for _ in range(20):
        stream = store.get_data("a")
        stream.seek(1_500_000)
        stream.read()
        stream.seek(0)
        stream.read(10)
        del stream
    gc.collect()
    settled()

    assert {(end.outcome, end.bytes) for end in recorder.of(StoreProgressEndEvent)} == {("ok", len(BYTES) - 1_499_990)}
    assert len(recorder.of(StoreProgressEndEvent)) == 20
    assert open_files() <= before + 16  # the 8 idle connections of an SqliteStore, with their logs


@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.parametrize("moved", ["before", "after"])
def test_stream_moved_over_a_changed_value_returns_the_old_bytes_or_fails(
    moved: str, change: str, store: AbstractStore
) -> None:
    store.from_bytes("a", BYTES)
    with store.get_data("a") as stream:
        if moved == "before":
            stream.seek(2_000_000)
        assert stream.read() == BYTES[2_000_000 if moved == "before" else 0 :]
        if change == "replaced":
            store.from_bytes("a", bytes(len(BYTES)))
        else:
            store.delete("a")

        stream.seek(0)
        try:
            found = stream.read()
        except ConflictError:
            found = None
        assert found in (None, BYTES)


def test_moved_stream_of_a_file_changed_in_place_fails(tmp_path: Any, kind: str, store: AbstractStore) -> None:
    store.from_bytes("a", BYTES)
    with store.get_data("a") as stream:
        stream.seek(100)
        stream.read(10)
        if kind != "filesystem":
            return
        with (tmp_path / "archive" / "a").open("ab") as file:
            file.write(b"more")

        stream.seek(2_000_000)
        with pytest.raises(ConflictError):
            stream.read(10)


def test_moved_stream_of_a_disconnected_store_fails(store: AbstractStore, kind: str) -> None:
    store.from_bytes("a", BYTES)
    stream = store.get_data("a")
    stream.read()
    store.disconnect()
    stream.seek(0)

    if kind == "sqlite":
        with pytest.raises(StoreConnectionError):
            stream.read()
    stream.close()


def test_stream_read_to_the_end_does_not_pin_the_log_of_sqlite(tmp_path: Any) -> None:
    path = tmp_path / "store.db"
    with SqliteStore(path) as store:
        put(store, "a", BYTES)
        stream = store.get_data("a")
        stream.read()
        assert run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0

        stream.seek(2_000_000)
        assert stream.read(5) == BYTES[2_000_000:2_000_005]
        stream.close()
