"""Files over chunks that read to the end by default, and can seek if their chunks can."""

from __future__ import annotations

import io
import operator

from encore_storage.streams.reader import NO_CHUNK, BufferIteratorIO
from encore_storage.streams.seekable import SeekableChunks


class ChunkFile(BufferIteratorIO):
    """A BufferIteratorIO that behaves as other files do: `read()` reads to the end.

    It can seek if the chunks are `SeekableChunks`, as `io.BytesIO` does.

    >>> from encore_storage.streams import DataChunks
    >>> file = ChunkFile(DataChunks(b"observable"))
    >>> file.seek(-4, io.SEEK_END), file.read()
    (6, b'able')
    """

    _past_end = 0  # the distance between the position and the last byte, after a seek to behind it

    def read(self, buffer_size: int | None = -1) -> bytes:
        """Return the next `buffer_size` bytes, fewer only at the end; by default all that remain."""
        return super().read(buffer_size)

    def seekable(self) -> bool:
        """Return whether the file can seek. Raises ValueError if it is closed."""
        self._check_open()
        return isinstance(self._iterator, SeekableChunks)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, which may lie behind the end, and return it.

        `seek(0, io.SEEK_CUR)` only returns the position; the base class asks for it in this way.

        Raises:
            io.UnsupportedOperation: the file cannot seek.
            ValueError: the position is negative, or `whence` unknown.
        """
        chunks = self._seekable_chunks()
        position = operator.index(offset)
        if is_question(position, whence):
            return self._position_in(chunks)
        if whence == io.SEEK_SET:
            if position < 0:
                raise ValueError(f"cannot seek to {position!r}: positions begin with 0")
        elif whence == io.SEEK_CUR:
            position += self._position_in(chunks)
        elif whence == io.SEEK_END:
            position += chunks.size
        else:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        chunks.stays_open = True
        position = max(position, 0)
        self._move(chunks, min(position, chunks.size))
        self._past_end = max(position - chunks.size, 0)
        return position

    def _seekable_chunks(self) -> SeekableChunks:
        if not self.seekable():
            raise io.UnsupportedOperation(f"{self!r} cannot seek: read its bytes into io.BytesIO")
        return self._iterator  # type: ignore[return-value]  # `seekable` has checked it

    def _position_in(self, chunks: SeekableChunks) -> int:
        return chunks.position - self._buffered + self._past_end

    def _has_more(self) -> bool:
        """Return whether bytes follow the position of a file that can seek."""
        chunks = self._seekable_chunks()
        return self._position_in(chunks) < chunks.size

    def _move(self, chunks: SeekableChunks, position: int) -> None:
        """Move to a position, within the chunks that are buffered if possible."""
        distance = position - (chunks.position - self._buffered)
        chunk, _ = self._chunk
        if self._failure is None and -chunk.tell() <= distance <= self._buffered:
            chunk.seek(distance, io.SEEK_CUR)
            return
        self._set_chunk(NO_CHUNK)
        chunks.seek(position)


def is_question(offset: int, whence: int) -> bool:
    """Return whether `seek(offset, whence)` only asks for the position."""
    return offset == 0 and whence == io.SEEK_CUR
