"""The fingerprints of what was copied into a directory of files, kept apart from the files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os

from encore_storage.stores.filesystem.keys import OWN
from encore_storage.stores.filesystem.scratch import Scratch
from encore_storage.stores.filesystem.tree import Tree
from encore_storage.stores.fingerprints import Fingerprint


class FingerprintFiles:
    """The directory `.encore/fingerprints`, with a JSON file for each key that holds a copy.

    Each names the fingerprint of the file that it is about: it says nothing of any other that stands there since.

    Args:
        tree: the directory of the store.
        scratch: where files are written.
    """

    def __init__(self, tree: Tree, scratch: Scratch) -> None:
        """Make it in a tree."""
        self._tree = tree
        self._scratch = scratch

    def load(self, key: str, own: Fingerprint) -> Fingerprint | None:
        """Return what was kept with the file whose own fingerprint is `own`; None if that is nothing readable."""
        try:
            record = json.loads(self._tree.read(_path_of(key)))
            return list(record["source"]) if (record["key"], record["own"]) == (key, own) else None
        except (OSError, LookupError, TypeError, ValueError):
            return None

    def save(self, key: str, own: Fingerprint, fingerprint: Fingerprint) -> None:
        """Keep a fingerprint with that file. Where that fails, the next copy compares bytes."""
        text = json.dumps({"key": key, "own": own, "source": fingerprint})
        with contextlib.suppress(OSError):
            standing = self._tree.examine(key)
            if standing is not None:
                self._scratch.write(_path_of(key), text.encode(), standing)

    def remove(self, key: str) -> None:
        """Forget what is kept for the key, if anything is."""
        with contextlib.suppress(OSError):
            self._tree.unlink(_path_of(key))


def _path_of(key: str) -> str:
    """Return a name for each key, however long and whatever is in it."""
    return f"{OWN}/fingerprints/{hashlib.sha256(os.fsencode(key)).hexdigest()}.json"
