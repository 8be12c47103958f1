"""The metadata of files, kept apart from them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any

from encore_storage.errors import IntegrityError
from encore_storage.metadata import Metadata, checked_metadata
from encore_storage.stores._keys import OWN
from encore_storage.stores._scratch import Scratch
from encore_storage.stores._tree import Token, Tree


class MetadataFiles:
    """The directory `.encore/metadata`, with a JSON file for each key that has metadata.

    A file there may hold the metadata as it is and also, under "next", as it will be and the token of the
    file that brings it. Which of the two holds is told by the file that stands under the key, so that the
    bytes and the metadata of a value are replaced in one and the same moment.
    """

    def __init__(self, tree: Tree, scratch: Scratch) -> None:
        """Make it in a tree."""
        self._tree = tree
        self._scratch = scratch

    def load(self, key: str, token: Token) -> Metadata:
        """The metadata of the file with that token. Raises IntegrityError."""
        return self._load(key, token)[0]

    def settled(self, key: str, token: Token) -> Metadata:
        """The same, and no next any more: for who is about to change it, or the file."""
        metadata, has_next = self._load(key, token)
        if has_next:
            self.save(key, metadata)
        return metadata

    def announce(self, key: str, before: Metadata, after: Metadata, token: Token) -> None:
        """Have the metadata change with the file: it is `after` once the file has that token."""
        upcoming = {"token": token, "metadata": after}
        self._write(key, {"key": key, "metadata": before, "next": upcoming})

    def save(self, key: str, metadata: Metadata) -> None:
        """Replace the metadata."""
        if metadata:
            self._write(key, {"key": key, "metadata": metadata})
        else:
            self.remove(key)

    def remove(self, key: str) -> None:
        """Forget the metadata, if there is any."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._tree.unlink(_path_of(key))

    def _load(self, key: str, token: Token) -> tuple[Metadata, bool]:
        path = _path_of(key)
        try:
            fd = self._tree.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return {}, False
        with os.fdopen(fd, "rb") as file:
            text = file.read()
        try:
            return _understood(json.loads(text), key, token)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"the metadata of key {key!r} is damaged: mend the file {self._tree.path_of(path)!r}, or remove it"
            ) from error

    def _write(self, key: str, record: dict[str, Any]) -> None:
        text = json.dumps(record)
        with self._scratch.file() as file:
            file.write(text.encode())
            file.finish()
            file.move(_path_of(key))


def _path_of(key: str) -> str:
    """A name for each key, however long and whatever is in it."""
    return f"{OWN}/metadata/{hashlib.sha256(os.fsencode(key)).hexdigest()}.json"


def _understood(record: Any, key: str, token: Token) -> tuple[Metadata, bool]:
    """The metadata that holds, and whether there is a next."""
    if record["key"] != key:
        raise ValueError(f"it is the metadata of key {record['key']!r}")
    upcoming = record.get("next")
    has_come = upcoming is not None and upcoming["token"] == list(token)
    return checked_metadata((upcoming if has_come else record)["metadata"]), upcoming is not None
