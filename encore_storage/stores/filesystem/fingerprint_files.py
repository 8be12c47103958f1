"""The fingerprints of copied files, kept apart from the files."""

from __future__ import annotations

import contextlib
import json

from encore_storage.stores.filesystem.keys import OWN, digest_of
from encore_storage.stores.filesystem.scratch import Scratch
from encore_storage.stores.filesystem.tree import Tree
from encore_storage.stores.fingerprints import Fingerprint


class FingerprintFiles:
    """The directory `.encore/fingerprints`, with a JSON file for each key that holds a copy.

    Each record contains the fingerprint of the file that it belongs to, and is ignored for any other file.
    """

    def __init__(self, tree: Tree, scratch: Scratch) -> None:
        self._tree = tree
        self._scratch = scratch

    def load(self, key: str, own: Fingerprint) -> Fingerprint | None:
        """Return the fingerprint kept with a file, given the own fingerprint of that file; None if there is none."""
        try:
            record = json.loads(self._tree.read(_path_of(key)))
            return list(record["source"]) if (record["key"], record["own"]) == (key, own) else None
        except (OSError, LookupError, TypeError, ValueError):
            return None

    def save(self, key: str, own: Fingerprint, fingerprint: Fingerprint) -> None:
        """Keep a fingerprint with that file. If that fails, the next copy compares bytes."""
        text = json.dumps({"key": key, "own": own, "source": fingerprint})
        with contextlib.suppress(OSError):
            original = self._tree.examine(key)
            if original is not None:
                self._scratch.write(_path_of(key), text.encode(), original)

    def remove(self, key: str) -> None:
        """Remove the fingerprint of a key, if there is one."""
        with contextlib.suppress(OSError):
            self._tree.unlink(_path_of(key))


def _path_of(key: str) -> str:
    return f"{OWN}/fingerprints/{digest_of(key)}.json"
