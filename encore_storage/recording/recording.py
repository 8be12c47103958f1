"""What has been recorded, read in the order in which it happened."""

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

_NONE = "can't be read: there is no such file"
_MOVING = "can't be read: its files are moved aside faster than they can be opened"
_TRIES, _PAUSE = 100, 0.01  # seconds between two


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
        files = self._found()
        if not files:
            raise RecordingFileError(self.path, _NONE)
        return files

    def _found(self) -> list[Path]:
        beginning = f"{self.path.name}."
        try:
            names = os.listdir(self.path.parent)  # noqa: PTH208 (names are all that is asked for)
        except OSError as error:
            raise RecordingFileError(self.path, f"can't be read: {error.strerror}") from error
        numbers = [name.removeprefix(beginning) for name in names if name.startswith(beginning)]
        older = sorted((int(number) for number in numbers if _is_backup(number)), reverse=True)
        files = [self.path.with_name(f"{beginning}{number}") for number in older]
        return files + [self.path] * (self.path.name in names)

    def __iter__(self) -> Iterator[Message]:
        """Read the messages.

        Raises:
            RecordingFileError: there is no file, or it can't be read.
            MalformedRecordingError: a line is not an event.
        """
        self.skipped = 0
        with ExitStack() as opened:
            for path, file in self._all_open(opened):
                yield from self._read(path, file)

    def _all_open(self, opened: ExitStack) -> list[tuple[Path, BinaryIO]]:
        """All files, open at once, so that a recorder may go on and move them; none of them was moved until then."""
        names = self.files
        for tries_left in reversed(range(_TRIES)):
            with ExitStack() as these:
                try:
                    files = [(path, these.enter_context(self._open(path))) for path in names]
                except RecordingFileError as error:
                    if not tries_left or not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    files = []
                found = self._found()
                if files and found == names and all(_is_at(path, file) for path, file in files):
                    opened.push(these.pop_all())
                    return files
            names = found
            time.sleep(_PAUSE)
        raise RecordingFileError(self.path, _MOVING if names else _NONE)

    def _open(self, path: Path) -> BinaryIO:
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # which says so itself
                return path.open("rb")
        except OSError as error:
            raise RecordingFileError(path, f"can't be read: {error.strerror}") from error
        raise RecordingFileError(path, "can't be read: it is not a file")  # a device may have no end

    def _read(self, path: Path, file: BinaryIO) -> Iterator[Message]:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                message = self._codec.decode(line)
            except CodecError as error:
                is_foreign = number == 1 and not line.startswith(b"{")  # and no beginning of an event
                if line.endswith(b"\n") or is_foreign:
                    raise MalformedRecordingError(path, number, str(error)) from error
                self.skipped += 1
                continue
            yield message


def _is_backup(number: str) -> bool:
    """Whether a file with that ending was moved aside by a recorder, which writes numbers in one way."""
    return number.isdecimal() and str(int(number)) == number and 0 < int(number) <= MOST_BACKUPS


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
