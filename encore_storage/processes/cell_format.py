"""The format of a file of cells.

A header is followed by records, each a block with its key:

    header: magic, version, pid, start time and pid namespace of the process, 1 once it is closed, bytes in use
    record: bytes of the key, number of cells, key as JSON, then twice: cells, version

All numbers are 8 bytes in the machine's own order. A file consists of chunks, and no record crosses the boundary of two
mappings: a key of length 0 means that the next record is at the next chunk. The bytes in use are written last.
"""

from __future__ import annotations

import json
import struct
from mmap import mmap
from typing import NamedTuple

from encore_storage.processes.cells import CELL, Key, length_of

MAGIC = b"encore\0c"
VERSION = 2
CHUNK = 64 * 1024
RECORD = struct.Struct("QQ")
_HEADER = struct.Struct("8sQQQQQQ")
_CLOSED = struct.Struct("Q"), _HEADER.size - 2 * CELL
_USED = struct.Struct("Q"), _HEADER.size - CELL
START = 64
"""The offset of the first record."""


class Header(NamedTuple):
    """The beginning of a file.

    Attributes:
        pid: the process that counts in it.
        started: the start time of the process, see `liveness.start_time`.
        namespace: the namespace of its process id, see `liveness.pid_namespace`.
        is_closed: whether the process has closed it.
        used: the number of bytes in use.
    """

    pid: int
    started: int
    namespace: int
    is_closed: bool
    used: int


class Layout(NamedTuple):
    """The records of a file so far.

    Attributes:
        places: the key of each block, and the index of its first cell.
        end: the offset behind the last record.
    """

    places: tuple[tuple[Key, int], ...] = ()
    end: int = START


def write_header(memory: mmap, pid: int, started: int, namespace: int) -> None:
    """Write the header of an empty file."""
    _HEADER.pack_into(memory, 0, MAGIC, VERSION, pid, started, namespace, 0, START)


def write_closed(memory: mmap) -> None:
    """Mark the file as closed."""
    _CLOSED[0].pack_into(memory, _CLOSED[1], 1)


def write_used(memory: mmap, used: int) -> None:
    """Publish the records before the offset `used`."""
    _USED[0].pack_into(memory, _USED[1], used)


def record_of(key: Key) -> bytes:
    """Return the record of a block, with all cells and versions at zero."""
    text = json.dumps(key, separators=(",", ":")).encode()
    padded = text + b" " * (-len(text) % CELL)
    return RECORD.pack(len(padded), len(key[0])) + padded + bytes(length_of(key))


def read_header(data: bytes | memoryview, size: int) -> Header:
    """Return the header of a file of `size` bytes. Raises ValueError if it is none."""
    if size < START or len(data) < START:
        raise ValueError("it is too short")
    magic, version, pid, started, namespace, closed, used = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("it is no file of cells")
    if version != VERSION:
        raise ValueError(f"it has version {version} of the format, not {VERSION}")
    if not START <= used <= size or used % CELL:
        raise ValueError("it has been truncated")
    return Header(pid, started, namespace, bool(closed), used)


def read_layout(data: memoryview, used: int, layout: Layout, keys: dict[bytes, Key]) -> Layout:
    """Return `layout` with the records that were added since.

    Args:
        data: the whole file.
        used: the bytes in use.
        layout: the records that are known.
        keys: the keys by their text, which all files share.

    Raises:
        ValueError: a record is broken.
    """
    places, offset = list(layout.places), layout.end
    while offset < used:
        length, cells = RECORD.unpack_from(data, offset)
        if not length:
            offset += CHUNK - offset % CHUNK
            continue
        values = offset + RECORD.size + length
        end = values + 2 * CELL * (cells + 1)
        if length % CELL or end > used:
            raise ValueError(f"the record at {offset} is broken")
        key = _key(bytes(data[offset + RECORD.size : values]), keys)
        if len(key[0]) != cells:
            raise ValueError(f"the record at {offset} has another number of cells")
        places.append((key, values // CELL))
        offset = end
    return Layout(tuple(places), offset)


def _key(text: bytes, keys: dict[bytes, Key]) -> Key:
    if text not in keys:
        items = json.loads(text)
        if not (isinstance(items, list) and items and all(isinstance(item, str) for item in items)):
            raise ValueError(f"{text[:80]!r} is no key")
        keys[text] = tuple(items)
    return keys[text]
