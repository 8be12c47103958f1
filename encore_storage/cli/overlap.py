"""Overlap of the source and the target of a copy, also through links."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from encore_storage.cli.errors import StoreNameError
from encore_storage.cli.names import StoreName
from encore_storage.stores.filesystem.keys import is_own


def check_apart(source: StoreName, target: StoreName) -> None:
    """Refuse a copy that would overwrite its own source.

    A target inside the source is allowed; `SourceDirectory` skips it.

    Raises:
        StoreNameError: both are the same store, the source is inside the target, or the target is in the directory
            that holds the source's metadata.
    """
    pairs = itertools.product(source.files(), target.files())
    if source.scheme == target.scheme and any(_is_same(one, other) for one, other in pairs):
        raise StoreNameError(f"{source.text!r} and {target.text!r} are the same store")
    if source.scheme != "directory":
        return
    [directory] = source.files()
    for path in target.files():
        if is_own(_relative(path, directory) or ""):
            raise StoreNameError(
                f"the target {target.text!r} is inside the metadata directory of the source {source.text!r}: "
                "give another target"
            )
        if target.scheme == "directory" and _relative(directory, path) is not None:
            raise StoreNameError(
                f"the source {source.text!r} is inside the target {target.text!r} and would be overwritten: "
                "give another target"
            )


def keys_in(target: StoreName, paths: Iterable[Path]) -> list[str]:
    """Return the keys of those paths that are inside the target; only a directory has any."""
    if target.scheme != "directory":
        return []
    [directory] = target.files()
    keys = (_relative(path, directory) for path in paths)
    return [key for key in keys if key is not None]


def _relative(path: Path, directory: Path) -> str | None:
    """Return the path relative to the directory, or None if it is outside."""
    for outer in (path, *path.parents):
        if _is_same(outer, directory):
            return path.relative_to(outer).as_posix()
    return None


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both are one file, also through links and mounts."""
    try:
        return one == other or one.samefile(other)
    except OSError:  # one does not exist
        return False
