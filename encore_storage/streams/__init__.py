"""Byte streams: read a file in chunks, read chunks as a file, and split one file into several."""

from encore_storage.streams.buffers import Progress, buffer_iterator
from encore_storage.streams.chunk_file import ChunkFile
from encore_storage.streams.reader import BufferIteratorIO
from encore_storage.streams.seekable import DataChunks, SeekableChunks
from encore_storage.streams.sources import MEBIBYTE, Readable
from encore_storage.streams.tee import tee

__all__ = [
    "MEBIBYTE",
    "BufferIteratorIO",
    "ChunkFile",
    "DataChunks",
    "Progress",
    "Readable",
    "SeekableChunks",
    "buffer_iterator",
    "tee",
]
