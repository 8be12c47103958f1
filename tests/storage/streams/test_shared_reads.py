"""A file that is read in several threads, or whose read is interrupted, never loses bytes without an error."""

import sys
import threading
from collections.abc import Iterator

import pytest

from encore_storage.streams import reader
from encore_storage.streams.chunk_file import ChunkFile
from encore_storage.streams.seekable import DataChunks
from encore_storage.utils import BufferIteratorIO
from tests.storage.sweeps import sweep

DATA = bytes(range(256)) * 4


class SlowChunks:
    """Chunks of which the first comes only when `come` is set."""

    def __init__(self) -> None:
        self.asked, self.come = threading.Event(), threading.Event()
        self._chunks = iter([DATA[:100], DATA[100:200]])

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        if not self.asked.is_set():
            self.asked.set()
            assert self.come.wait(20)
        return chunk


def test_read_during_the_read_of_another_thread_loses_nothing() -> None:
    source, results = SlowChunks(), list[bytes]()
    file = BufferIteratorIO(source)
    threads = [threading.Thread(target=lambda: results.append(file.read(10))) for _ in range(2)]
    threads[0].start()
    assert source.asked.wait(20)
    threads[1].start()
    threads[1].join(0.1)  # it waits for the other, or has read already
    source.come.set()
    for thread in threads:
        thread.join(20)

    assert sorted([*results, file.read(-1)]) == sorted([DATA[:10], DATA[10:20], DATA[20:200]])


def test_reads_of_several_threads_add_up() -> None:
    file, interval = BufferIteratorIO(DATA[:100] for _ in range(2_000)), sys.getswitchinterval()
    results: list[list[bytes]] = [[], [], []]

    def read_all(parts: list[bytes]) -> None:
        while part := file.read(30):
            parts.append(part)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read_all, args=(parts,)) for parts in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        sys.setswitchinterval(interval)

    assert sum(len(part) for parts in results for part in parts) == 200_000


@pytest.mark.parametrize("read", ["read", "read1", "readline"])
def test_interrupt_at_any_step_of_a_read_leaves_the_right_bytes_or_an_error(read: str) -> None:
    def make() -> ChunkFile:
        file = ChunkFile(DataChunks(DATA))
        file.read(8)
        return file

    def check(file: ChunkFile, error: BaseException | None) -> None:
        assert error is None or isinstance(error, KeyboardInterrupt)
        position = file.tell()
        assert file.seek(400) == 400
        assert file.read(4) == DATA[400:404]
        assert position in range(8, 13)

    count = sweep(make, lambda file: getattr(file, read)(4), check, events="opcode", where=(reader.__file__,))
    assert count > 10
