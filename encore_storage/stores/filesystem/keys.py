"""Keys that are paths: relative, with '/' between the names, each file spelled in one way only."""

from __future__ import annotations

import os

from encore_storage.errors import InvalidKeyError

OWN = ".encore"
"""The directory that a store keeps for itself in its root."""

LONGEST_NAME = 255
LONGEST_PATH = 4095


def check_key(key: str, root: str) -> None:
    """Refuse what is not a path to a file below the directory `root`, or not the one way to spell it.

    Raises:
        InvalidKeyError: with the reason.
    """
    encoded = _encoded(key)
    names = key.split("/")
    faults = {
        "it is empty": not key,
        "it has a NUL character in it": "\0" in key,
        "it begins or ends with '/', or has '//' in it": bool(key) and "" in names,
        "it has '.' or '..' between its slashes": "." in names or ".." in names,
        f"{OWN!r} is the store's own directory": is_own(key),
        f"a name in it is longer than {LONGEST_NAME} bytes": max(map(len, encoded.split(b"/"))) > LONGEST_NAME,
        f"its path is longer than {LONGEST_PATH} bytes": len(os.fsencode(root)) + 1 + len(encoded) > LONGEST_PATH,
    }
    for reason, is_so in faults.items():
        if is_so:
            raise InvalidKeyError(key, reason)


def is_own(path: str) -> bool:
    """Whether the path is the store's own directory or below it, on a file system that ignores case too."""
    return path.partition("/")[0].casefold() == OWN


def _encoded(key: str) -> bytes:
    """The key as the system spells it. Names that are not UTF-8 have surrogates in them, others must not."""
    try:
        encoded = os.fsencode(key)
    except UnicodeEncodeError:
        raise InvalidKeyError(key, "it has characters in it that no file name can have") from None
    if os.fsdecode(encoded) != key:
        raise InvalidKeyError(key, f"its surrogates spell {os.fsdecode(encoded)!r}, which is another key")
    return encoded
