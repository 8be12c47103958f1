"""The metadata of files, kept apart from them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from typing import Any, Self

from encore_storage.errors import IntegrityError
from encore_storage.metadata import Metadata, checked_metadata
from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.ownership import Original
from encore_storage.stores.filesystem.scratch import Scratch
from encore_storage.stores.filesystem.tree import Token, Tree

_MISSING = (FileNotFoundError, NotADirectoryError)
_DAMAGED = (AttributeError, LookupError, TypeError, ValueError)


class MetadataFiles:
    """The directory `.encore/metadata`, with a JSON file for each key that has metadata.

    A file there may hold the metadata as it is and also, under "next", as it will be, with the token of the file that
    brings it and that of the file that is replaced. Which of the two holds is decided by the file that stands under the
    key, so that the bytes and the metadata of a value are replaced in one and the same moment. The next token of a
    value that is deleted is null: what stands under the key later, and is another file, does not get its metadata.
    """

    def __init__(self, tree: Tree, scratch: Scratch) -> None:
        """Make it in a tree."""
        self._tree = tree
        self._scratch = scratch

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """Return those of a tree."""
        return cls(tree, Scratch(tree))

    def load(self, key: str, token: Token) -> Metadata:
        """Return the metadata of the file with that token. Raises IntegrityError."""
        return self._load(key, token)[0]

    def settled(self, key: str, original: Original) -> Metadata:
        """Return the same, and leave no next: for who is about to change it, or the file."""
        metadata, has_next = self._load(key, Token.of(original.found))
        if has_next:
            self.save(key, metadata, original)
        return metadata

    def announce(self, key: str, before: Metadata, after: Metadata, token: Token | None, original: Original) -> None:
        """Have the metadata change with the file.

        Args:
            key: the key.
            before: the metadata until then.
            after: the metadata from then on.
            token: that of the file that will stand under the key, or None for none.
            original: what stands there now, or will.
        """
        replaced = Token.of(original.found)
        upcoming = {"token": token, "metadata": after, "replaced": None if replaced == token else replaced}
        self._write(key, {"key": key, "metadata": before, "next": upcoming}, original)

    def save(self, key: str, metadata: Metadata, original: Original) -> None:
        """Replace the metadata."""
        if metadata:
            self._write(key, {"key": key, "metadata": metadata}, original)
        else:
            self.forget(key, original)

    def forget(self, key: str, original: Original | None = None) -> None:
        """Remove the metadata, if there is any; a file that can't be removed is emptied of it."""
        path = path_of(key)
        try:
            self._tree.unlink(path)
        except _MISSING:
            return
        except OSError:
            if original is None:
                original = self._tree.examine(path)
            if original is None:
                return
            self._write(key, {"key": key, "metadata": {}}, original)

    def settle(self, name: str) -> None:
        """Decide for the value whose metadata is in the file of that name, and leave no next."""
        path = f"{OWN}/metadata/{name}.json"
        text = self._read(path)
        if text is None:
            return
        with contextlib.suppress(*_DAMAGED):  # its readers will say so
            record = json.loads(text)
            key, upcoming = record["key"], record["next"]
            original = self._standing(key)
            if original is not None:
                metadata = _understood(record, key, Token.of(original.found))[0]
            else:
                metadata = {} if upcoming["token"] is None else checked_metadata(record["metadata"])
                original = self._tree.examine(path)
            if original is not None:
                self.save(key, metadata, original)

    def _standing(self, key: str) -> Original | None:
        try:
            original = self._tree.examine(key)
        except NotADirectoryError:
            return None
        return original if original is not None and stat.S_ISREG(original.found.st_mode) else None

    def _load(self, key: str, token: Token) -> tuple[Metadata, bool]:
        path = path_of(key)
        text = self._read(path)
        if text is None:
            return {}, False
        try:
            return _understood(json.loads(text), key, token)
        except _DAMAGED as error:
            raise IntegrityError(
                f"the metadata of key {key!r} is damaged: mend the file {self._tree.path_of(path)!r}, or remove it"
            ) from error

    def _read(self, path: str) -> bytes | None:
        """Return what is in the file, or None if there is none."""
        try:
            return self._tree.read(path)
        except _MISSING:
            return None

    def _write(self, key: str, record: dict[str, Any], original: Original) -> None:
        self._scratch.write(path_of(key), json.dumps(record).encode(), original)


def is_same(one: Metadata, other: Metadata) -> bool:
    """Return whether they are the same as JSON, in which 1, 1.0 and true are three."""
    return one is other or json.dumps(one) == json.dumps(other)


def name_of(key: str) -> str:
    """Return a name for each key, however long and whatever is in it."""
    return hashlib.sha256(os.fsencode(key)).hexdigest()


def path_of(key: str) -> str:
    """Return the path of the file with the metadata of the key."""
    return f"{OWN}/metadata/{name_of(key)}.json"


def _understood(record: Any, key: str, token: Token) -> tuple[Metadata, bool]:
    """Return the metadata that holds, and whether there is a next."""
    if record["key"] != key:
        raise ValueError(f"it is the metadata of key {record['key']!r}")
    upcoming = record.get("next")
    has_come = upcoming is not None and _has_come(upcoming, token)
    return checked_metadata((upcoming if has_come else record)["metadata"]), upcoming is not None


def _has_come(upcoming: Any, token: Token) -> bool:
    """Return whether the file with the token is the one that was announced, or not the one that was to be deleted.

    In a copy of the directory all files have other inodes. There their times and sizes have to do, unless those of
    the two files are the same.
    """
    announced, replaced = _token(upcoming["token"]), _token(upcoming.get("replaced"))
    if token in (announced, replaced):
        return token == announced
    if "replaced" not in upcoming:  # written by an older version
        return False
    if replaced is not None and token.content == replaced.content:
        return False
    return announced is None or token.content == announced.content


def _token(value: Any) -> Token | None:
    return None if value is None else Token(*value)
