"""The metadata of files, kept apart from the files."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Mapping
from typing import Any, Self

from encore_storage.errors import IntegrityError
from encore_storage.metadata import Metadata, copied_metadata
from encore_storage.stores.filesystem.keys import OWN, digest_of
from encore_storage.stores.filesystem.ownership import Original
from encore_storage.stores.filesystem.scratch import Scratch
from encore_storage.stores.filesystem.tree import OpenTree, Token, Tree

DIRECTORY = f"{OWN}/metadata"
_MISSING = (FileNotFoundError, NotADirectoryError)
_DAMAGED = (AttributeError, LookupError, TypeError, ValueError)


class MetadataFiles:
    """The directory `.encore/metadata`, with a JSON file for each key that has metadata.

    A metadata file holds the current metadata. During a change it also holds, under "next", the new metadata, the token
    of the new file, and the token of the replaced file. The file that exists under the key decides which metadata is
    valid, so the bytes and the metadata of a value are replaced in the same moment. For a deletion, the token of the
    new file is null: another file that appears under the key later does not get the metadata.
    """

    def __init__(self, tree: Tree, scratch: Scratch) -> None:
        self._tree = tree
        self._scratch = scratch

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """Return the metadata files of a tree."""
        return cls(tree, Scratch(tree))

    def load(self, key: str, token: Token, tree: OpenTree) -> Metadata:
        """Return the metadata of the file with that token, read in an open tree. Raises IntegrityError."""
        path = _path_of(key)
        return {} if tree.is_missing(path) else self._load(key, token, tree)[0]

    def may_have(self, wanted: Mapping[str, Any], key: str, tree: OpenTree) -> bool:
        """Return whether the metadata of a key has the items, or True if it is damaged or about to change."""
        text = _read(tree, _path_of(key))
        if text is None:
            return False
        try:
            record = json.loads(text)
            return (
                record["key"] != key
                or record.get("next") is not None
                or wanted.items() <= copied_metadata(record["metadata"]).items()
            )
        except _DAMAGED:
            return True

    def load_resolved(self, key: str, original: Original) -> Metadata:
        """Return the metadata of a file before it, or its metadata, changes; resolve an unfinished change."""
        metadata, is_changing = self._load(key, Token.of(original.found), self._tree)
        if is_changing:
            self.save(key, metadata, original)
        return metadata

    def announce(self, key: str, before: Metadata, after: Metadata, token: Token | None, original: Original) -> None:
        """Record a change of metadata that takes effect with a change of the file.

        Args:
            key: the key.
            before: the current metadata.
            after: the new metadata.
            token: the token of the new file, or None for a deletion.
            original: the current file, or the new one if there is none.
        """
        replaced = Token.of(original.found)
        upcoming = {"token": token, "metadata": after, "replaced": None if replaced == token else replaced}
        self._write(key, {"key": key, "metadata": before, "next": upcoming}, original)

    def save(self, key: str, metadata: Metadata, original: Original) -> None:
        """Replace the metadata."""
        if metadata:
            self._write(key, {"key": key, "metadata": metadata}, original)
        else:
            self.remove(key, original)

    def remove(self, key: str, original: Original | None = None) -> None:
        """Remove the metadata, if there is any. A file that cannot be removed is emptied."""
        path = _path_of(key)
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

    def resolve(self, name: str) -> None:
        """Resolve the unfinished change in the metadata file of that name."""
        path = f"{DIRECTORY}/{name}.json"
        text = _read(self._tree, path)
        if text is None:
            return
        with contextlib.suppress(*_DAMAGED):  # readers raise an IntegrityError
            record = json.loads(text)
            key, upcoming = record["key"], record["next"]
            original = self._current_file(key)
            if original is not None:
                metadata = _parse(record, key, Token.of(original.found))[0]
            else:
                metadata = {} if upcoming["token"] is None else copied_metadata(record["metadata"])
                original = self._tree.examine(path)
            if original is not None:
                self.save(key, metadata, original)

    def _current_file(self, key: str) -> Original | None:
        try:
            original = self._tree.examine(key)
        except NotADirectoryError:
            return None
        return original if original is not None and stat.S_ISREG(original.found.st_mode) else None

    def _load(self, key: str, token: Token, tree: Tree) -> tuple[Metadata, bool]:
        path = _path_of(key)
        text = _read(tree, path)
        if text is None:
            return {}, False
        try:
            return _parse(json.loads(text), key, token)
        except _DAMAGED as error:
            raise IntegrityError(
                f"the metadata of key {key!r} is damaged: repair the file {self._tree.path_of(path)!r}, or remove it"
            ) from error

    def _write(self, key: str, record: dict[str, Any], original: Original) -> None:
        self._scratch.write(_path_of(key), json.dumps(record).encode(), original)


def is_same(one: Metadata, other: Metadata) -> bool:
    """Return whether two metadata are the same JSON, in which 1, 1.0 and true differ."""
    return one is other or json.dumps(one) == json.dumps(other)


def _read(tree: Tree, path: str) -> bytes | None:
    try:
        return tree.read(path)
    except _MISSING:
        return None


def _path_of(key: str) -> str:
    return f"{DIRECTORY}/{digest_of(key)}.json"


def _parse(record: Any, key: str, token: Token) -> tuple[Metadata, bool]:
    """Return the valid metadata for the file with that token, and whether a change is unfinished."""
    if record["key"] != key:
        raise ValueError(f"it is the metadata of key {record['key']!r}")
    upcoming = record.get("next")
    is_new = upcoming is not None and _is_new(upcoming, token)
    return copied_metadata((upcoming if is_new else record)["metadata"]), upcoming is not None


def _is_new(upcoming: Any, token: Token) -> bool:
    """Return whether the file with the token is the announced one or, after a deletion, not the deleted one.

    In a copy of the directory, all inodes differ. There, times and sizes decide, unless both files have the same.
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
