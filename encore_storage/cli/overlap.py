"""Source and target of a copy that lie in each other, whatever names lead there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from encore_storage.cli.names import StoreName, StoreNameError
from encore_storage.stores.filesystem.keys import is_own


def check_apart(source: StoreName, target: StoreName) -> None:
    """Refuse a copy that would write over its own source.

    A target inside the source is none: what it writes is not copied.

    Raises:
        StoreNameError: both are the same store, the source lies inside the target, or the target in what the source
            keeps for itself.
    """
    pairs = itertools.product(source.files(), target.files())
    if source.scheme == target.scheme and any(_is_same(one, other) for one, other in pairs):
        raise StoreNameError(f"{source.text!r} and {target.text!r} are the same store")
    if source.scheme != "directory":
        return
    [directory] = source.files()
    for path in target.files():
        if is_own(_place_in(path, directory) or ""):
            raise StoreNameError(
                f"the target {target.text!r} lies where the source {source.text!r} keeps its metadata: "
                "give another place to copy to"
            )
        if target.scheme == "directory" and _place_in(directory, path) is not None:
            raise StoreNameError(
                f"the source {source.text!r} lies inside the target {target.text!r}, and would be written over: "
                "give another place to copy to"
            )


def keys_in(target: StoreName, paths: Iterable[Path]) -> list[str]:
    """Return the keys that the target, if it is a directory, has for those of the paths that lie inside it."""
    if target.scheme != "directory":
        return []
    [directory] = target.files()
    places = (_place_in(path, directory) for path in paths)
    return [place for place in places if place is not None]


def _place_in(path: Path, directory: Path) -> str | None:
    """Return the path below the directory; None if it isn't there."""
    for outer in (path, *path.parents):
        if _is_same(outer, directory):
            return path.relative_to(outer).as_posix()
    return None


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one file, by their names or by a link or a mount."""
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is missing
        return False
