"""Streams of bytes: a file read as chunks, chunks read as a file, and one file read as several."""

from encore_storage.streams.buffers import Progress, buffer_iterator
from encore_storage.streams.reader import BufferIteratorIO
from encore_storage.streams.sources import MEBIBYTE, Readable
from encore_storage.streams.tee import tee

__all__ = ["MEBIBYTE", "BufferIteratorIO", "Progress", "Readable", "buffer_iterator", "tee"]
