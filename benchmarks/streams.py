"""Streams compared with a bare read loop, and with the predecessor's streams."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

from encore.storage.utils import BufferIteratorIO as OldBufferIteratorIO

from benchmarks.harness import Bench, Snippet
from benchmarks.progress import observed_operation
from encore_storage.utils import BufferIteratorIO, buffer_iterator

Pair = tuple[Snippet, Snippet]

KIB, MIB = 1 << 10, 1 << 20
TRANSFER = 256 * MIB


def benches(*, quick: bool) -> Iterator[Bench]:
    """Yield the rows of the streams; `quick` reads less from the predecessor, which is quadratic."""
    name = "256 MiB in {} chunks with progress, against while chunk := read(n)"
    yield Bench(name.format("64 KiB"), partial(chunk_loop, 64 * KIB), 1.12)
    yield Bench(name.format("1 MiB"), partial(chunk_loop, MIB), 1.06)
    size = (16 if quick else 64) * MIB
    yield Bench(
        f"BufferIteratorIO, 64 KiB chunks in {size // MIB} MiB reads, against encore 0.8.0",
        partial(wide_reads, size),
        None if quick else 0.005,  # the predecessor is quadratic, so the target applies only to 64 MiB
    )
    small_reads = "BufferIteratorIO, {} 1 MiB chunks, against io.BytesIO"
    yield Bench(small_reads.format("4 KiB reads of"), partial(small, "read(4096)"), 3.5)
    yield Bench(
        "BufferIteratorIO, lines of 4 KiB in 1 MiB chunks, against io.BytesIO", partial(small, "readline()"), 3.5
    )


def chunk_loop(size: int) -> Pair:
    """Compare an observed read of memory with a bare read loop. The memory is written first, so that it is mapped."""
    source = io.BytesIO(b"\x01" * TRANSFER)
    ours = Snippet(
        "source.seek(0)\n"
        "with operation() as progress:\n"
        "    for chunk in buffer_iterator(source, size, progress):\n"
        "        pass",
        source=source,
        size=size,
        operation=observed_operation(),
        buffer_iterator=buffer_iterator,
    )
    peer = Snippet("source.seek(0)\nwhile chunk := source.read(size):\n    pass", source=source, size=size)
    return ours, peer


def wide_reads(size: int) -> Pair:
    """Compare one read of many chunks; the predecessor runs a single round, since it takes seconds."""
    chunks = [bytes([number % 256]) * (64 * KIB) for number in range(size // (64 * KIB))]
    assert BufferIteratorIO(chunks).read(size) == b"".join(chunks)
    code = "Reader(iter(chunks)).read(size)"
    return (
        Snippet(code, Reader=BufferIteratorIO, chunks=chunks, size=size),
        Snippet(code, Reader=OldBufferIteratorIO, chunks=chunks, size=size, rounds=1),
    )


def small(call: str) -> Pair:
    """Compare many small reads of large chunks with the same reads of a file in memory, one chunk long."""
    chunk = (bytes(4095) + b"\n") * (MIB // 4096)
    code = f"file = make()\nwhile file.{call}:\n    pass"
    return (
        Snippet(code, units=4 * len(chunk) // 4096, make=lambda: BufferIteratorIO([chunk] * 4)),
        Snippet(code, units=len(chunk) // 4096, make=lambda: io.BytesIO(chunk)),
    )
