"""Recordings, read in the order of their events."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from encore_storage.codec import CodecError, EventCodec, Message
from encore_storage.recording.errors import MalformedRecordingError, RecordingFileError
from encore_storage.recording.files import MOST_BACKUPS

_NO_FILE = "can't be read: there is no such file"
_MOVING = "can't be read: its files are moved aside faster than they can be opened"
_ATTEMPTS, _PAUSE = 100, 0.01  # the pause in seconds


class Recording:
    """An iterable over the messages of a file and its backups, the oldest first.

    An incomplete line at the end of a file, left by a killed program, is skipped and counted. Blank lines are skipped.

    Args:
        path: the path given to the recorder.
        codec: decodes the events; needed for custom event types.

    Attributes:
        path: the file.
        skipped: the number of incomplete lines skipped by the last iteration.
    """

    def __init__(self, path: str | os.PathLike[str], *, codec: EventCodec | None = None) -> None:
        self.path = Path(path)
        self.skipped = 0
        self._codec = EventCodec() if codec is None else codec

    def __repr__(self) -> str:
        return f"<Recording of {str(self.path)!r}>"

    @property
    def files(self) -> list[Path]:
        """The existing files, the oldest first. Raises RecordingFileError if there are none."""
        files = self._found()
        if not files:
            raise RecordingFileError(self.path, _NO_FILE)
        return files

    def _found(self) -> list[Path]:
        prefix = f"{self.path.name}."
        try:
            names = os.listdir(self.path.parent)  # noqa: PTH208 (only names are needed)
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be read: {error.strerror}") from error
        numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        older = sorted((int(number) for number in numbers if _is_backup(number)), reverse=True)
        files = [self.path.with_name(f"{prefix}{number}") for number in older]
        return files + [self.path] * (self.path.name in names)

    def __iter__(self) -> Iterator[Message]:
        """Iterate over the messages.

        Raises:
            RecordingFileError: there is no file, or one can't be read.
            MalformedRecordingError: a line is not an event.
        """
        self.skipped = 0
        with ExitStack() as opened:
            for path, file in self._all_open(opened):
                yield from self._read(path, file)

    def _all_open(self, opened: ExitStack) -> list[tuple[Path, BinaryIO]]:
        """Open all files at once, before a recorder moves any of them. It may move them afterwards."""
        names = self.files
        for attempts_left in reversed(range(_ATTEMPTS)):
            with ExitStack() as these:
                try:
                    files = [(path, these.enter_context(self._open(path))) for path in names]
                except RecordingFileError as error:
                    if not attempts_left or not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    files = []
                found = self._found()
                if files and found == names and all(_is_at(path, file) for path, file in files):
                    opened.push(these.pop_all())
                    return files
            names = found
            time.sleep(_PAUSE)
        raise RecordingFileError(self.path, _MOVING if names else _NO_FILE)

    def _open(self, path: Path) -> BinaryIO:
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # opening a directory raises by itself
                return path.open("rb")
        except OSError as error:
            raise RecordingFileError(path, f"can't be read: {error.strerror}") from error
        raise RecordingFileError(path, "can't be read: it is not a file")  # reading a device may never end

    def _read(self, path: Path, file: BinaryIO) -> Iterator[Message]:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                message = self._codec.decode(line)
            except CodecError as error:
                is_foreign = number == 1 and not line.startswith(b"{")  # an incomplete event would begin with {
                if line.endswith(b"\n") or is_foreign:
                    raise MalformedRecordingError(path, number, str(error)) from error
                self.skipped += 1
                continue
            yield message


def _is_backup(number: str) -> bool:
    """Return whether `number` is the suffix of a backup, as recorders write it."""
    return number.isdecimal() and str(int(number)) == number and 0 < int(number) <= MOST_BACKUPS


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
