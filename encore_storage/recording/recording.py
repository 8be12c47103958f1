"""What has been recorded, read in the order in which it happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from encore_storage.codec import CodecError, EventCodec, Message
from encore_storage.recording.errors import MalformedRecordingError, RecordingFileError


class Recording:
    """The events of a file, and of those that were moved aside before it; iterates over messages.

    Half a line at the end of a file is what a killed program leaves; it is skipped and counted. Blank lines are
    skipped, too.

    Args:
        path: the file, as the recorder was given it.
        codec: how events are read; needed for types of a program's own.

    Attributes:
        path: the file.
        skipped: how many incomplete lines have been skipped so far.
    """

    def __init__(self, path: str | os.PathLike[str], *, codec: EventCodec | None = None) -> None:
        """Make it; nothing is opened before it is iterated over."""
        self.path = Path(path)
        self.skipped = 0
        self._codec = EventCodec() if codec is None else codec

    def __repr__(self) -> str:
        """Of which file."""
        return f"<Recording of {str(self.path)!r}>"

    @property
    def files(self) -> list[Path]:
        """The files that there are, the oldest first.

        Raises:
            RecordingFileError: there is none.
        """
        beginning = f"{self.path.name}."
        try:
            names = os.listdir(self.path.parent)  # noqa: PTH208 (names are all that is asked for)
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be read: {error.strerror}") from error
        numbers = [name.removeprefix(beginning) for name in names if name.startswith(beginning)]
        older = sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)
        files = [self.path.with_name(f"{beginning}{number}") for number in older]
        files += [self.path] * (self.path.name in names)
        if not files:
            raise RecordingFileError(self.path, "can't be read: there is no such file")
        return files

    def __iter__(self) -> Iterator[Message]:
        """Read the messages.

        Raises:
            RecordingFileError: there is no file, or it can't be read.
            MalformedRecordingError: a line is not an event.
        """
        self.skipped = 0
        with ExitStack() as opened:  # all of them now: a recorder may go on and move them
            files = [(path, opened.enter_context(self._open(path))) for path in self.files]
            for path, file in files:
                yield from self._read(path, file)

    def _open(self, path: Path) -> BinaryIO:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a device may have no end
            raise RecordingFileError(path, "can't be read: it is not a file")
        try:
            return path.open("rb")
        except OSError as error:
            raise RecordingFileError(path, f"can't be read: {error.strerror}") from error

    def _read(self, path: Path, file: BinaryIO) -> Iterator[Message]:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                message = self._codec.decode(line)
            except CodecError as error:
                if line.endswith(b"\n"):
                    raise MalformedRecordingError(path, number, str(error)) from error
                self.skipped += 1
                continue
            yield message
