"""The fingerprints of copied files, kept apart from the files."""

from __future__ import annotations

import contextlib
import json
import os

from encore_storage.stores.filesystem.keys import OWN, digest_of
from encore_storage.stores.filesystem.ownership import OF_METADATA, Original, copy_access
from encore_storage.stores.filesystem.tree import Tree
from encore_storage.stores.fingerprints import Fingerprint


class FingerprintFiles:
    """The directory `.encore/fingerprints`, with a JSON file for each key that holds a copy.

    Each record contains the fingerprint of the file that it belongs to, and is ignored for any other file. It is
    written in place: a record that a kill has cut is no JSON, and ignored as well.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def load(self, key: str, own: Fingerprint) -> Fingerprint | None:
        """Return the fingerprint kept with a file, given the own fingerprint of that file; None if there is none."""
        try:
            record = json.loads(self._tree.read(_path_of(key)))
            return list(record["source"]) if (record["key"], record["own"]) == (key, own) else None
        except (OSError, LookupError, TypeError, ValueError):
            return None

    def save(self, key: str, own: Fingerprint, fingerprint: Fingerprint, original: Original) -> None:
        """Keep a fingerprint with that file. If that fails, the next copy compares bytes."""
        text = json.dumps({"key": key, "own": own, "source": fingerprint})
        self.remove(key)
        with (
            contextlib.suppress(OSError),
            self._tree.create(_path_of(key), original.found.st_mode & OF_METADATA) as file,
        ):
            fd = file[0]
            copy_access(fd, os.fstat(fd), original.for_metadata(), OF_METADATA)
            os.write(fd, text.encode())

    def remove(self, key: str) -> None:
        """Remove the fingerprint of a key, if there is one."""
        with contextlib.suppress(OSError):
            self._tree.unlink(_path_of(key))


def _path_of(key: str) -> str:
    return f"{OWN}/fingerprints/{digest_of(key)}.json"
