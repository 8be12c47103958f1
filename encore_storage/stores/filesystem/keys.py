"""Keys that are relative paths, with '/' between the names and a single spelling for each file."""

from __future__ import annotations

import hashlib
import os
import re

from encore_storage.errors import InvalidKeyError

OWN = ".encore"  # the store's own directory in its root
LONGEST_NAME = 255
LONGEST_PATH = 4095

_USUAL = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)  # a valid key, unless it is too long
_SHORT_ROOT = (LONGEST_PATH - LONGEST_NAME) // 4 - 1  # characters of at most four bytes


def check_key(key: str, root: str) -> None:
    """Raise InvalidKeyError unless the key is the one spelling of a path to a file below the directory `root`."""
    if len(key) <= LONGEST_NAME and len(root) <= _SHORT_ROOT and _USUAL.fullmatch(key):
        return
    encoded = _encoded(key)
    names = key.split("/")
    faults = {
        "it is empty": not key,
        "it contains a NUL character": "\0" in key,
        "it begins or ends with '/', or contains '//'": bool(key) and "" in names,
        "it contains the path component '.' or '..'": "." in names or ".." in names,
        f"{OWN!r} is the store's own directory": is_own(key),
        f"it contains a name longer than {LONGEST_NAME} bytes": max(map(len, encoded.split(b"/"))) > LONGEST_NAME,
        f"its path is longer than {LONGEST_PATH} bytes": len(os.fsencode(root)) + 1 + len(encoded) > LONGEST_PATH,
    }
    for reason, is_so in faults.items():
        if is_so:
            raise InvalidKeyError(key, reason)


def is_own(path: str) -> bool:
    """Return whether the path leads into the store's own directory, also on a file system that ignores case."""
    return path.partition("/")[0].casefold() == OWN


def digest_of(key: str) -> str:
    """Return a unique file name for any key, however long and whatever its characters."""
    return hashlib.sha256(os.fsencode(key)).hexdigest()


def _encoded(key: str) -> bytes:
    """Return the key as bytes. Only names that are not UTF-8 may contain surrogates."""
    try:
        encoded = os.fsencode(key)
    except UnicodeEncodeError:
        raise InvalidKeyError(key, "it contains characters that no file name can have") from None
    if os.fsdecode(encoded) != key:
        raise InvalidKeyError(key, f"its surrogates spell {os.fsdecode(encoded)!r}, which is another key")
    return encoded
