"""Owner, group, permissions and attributes of a file, and how another takes them over."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

ACL = "system.posix_acl_access"

OF_VALUES = 0o1777
"""The permissions that a value takes over; setuid and setgid are lost, as with any file that is written to."""

OF_METADATA = 0o666
"""The permissions of a value that its metadata takes over."""

_OF_THE_BYTES = frozenset({"security.capability", "security.evm", "security.ima"})
"""Attributes that were given to the bytes, and must not pass to others."""


class Original(NamedTuple):
    """A file that another resembles: the one that replaces it, or the one with its metadata.

    Attributes:
        found: what `os.stat` gives.
        attributes: its extended attributes, or None where they are not to be looked at.
    """

    found: os.stat_result
    attributes: dict[str, bytes] | None = None

    @classmethod
    def of(cls, name: str, parent: int, known: Original | None) -> Original:
        """Examine a file in an open directory, unless it is `known` and has not changed."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if known is not None and known.is_still(found):
            return known
        return cls(found, _attributes_of(f"/proc/self/fd/{parent}/{name}") if stat.S_ISREG(found.st_mode) else None)

    def for_metadata(self) -> Original:
        """Return the same, as far as it says who may read the value."""
        if self.attributes is None:
            return self
        return Original(self.found, {name: value for name, value in self.attributes.items() if name == ACL})

    def is_still(self, found: os.stat_result) -> bool:
        """Return whether neither the file nor who may use it has changed."""
        return (self.found.st_ino, self.found.st_ctime_ns) == (found.st_ino, found.st_ctime_ns)


def resemble(fd: int, made: os.stat_result, original: Original, permissions: int) -> bool:
    """Give a new file what the original has, and return whether owner, group and access are the same then.

    Where the group or the access control list can't be the same, the group gets no permissions that others don't have.

    Args:
        fd: the new file.
        made: what `os.fstat` gives for it.
        original: the file to resemble.
        permissions: the permissions to take over.
    """
    has_owner, has_group = belong(fd, made, original.found)
    has_list = original.attributes is None or _take_over(fd, original.attributes)
    mode = stat.S_IMODE(original.found.st_mode) & permissions
    if not (has_group and has_list):
        mode &= ~0o070 | (mode & 0o007) << 3
    has_mode = True
    if mode != stat.S_IMODE(made.st_mode) or original.attributes:
        try:
            os.fchmod(fd, mode)
        except OSError:  # a file system that has no permissions
            has_mode = False
    return has_owner and has_group and has_list and has_mode


def belong(fd: int, made: os.stat_result, found: os.stat_result) -> tuple[bool, bool]:
    """Give a new file the owner and the group of another, and return whether it has each."""
    if (made.st_uid, made.st_gid) == (found.st_uid, found.st_gid):
        return True, True
    for owner, group in ((found.st_uid, found.st_gid), (-1, found.st_gid)):
        with contextlib.suppress(OSError):  # not permitted, or not known to the file system
            os.fchown(fd, owner, group)
            return owner != -1 or made.st_uid == found.st_uid, True
    return made.st_uid == found.st_uid, made.st_gid == found.st_gid


def _attributes_of(path: str) -> dict[str, bytes]:
    """Return the extended attributes of a file as far as they can be read; most systems and most files have none."""
    attributes: dict[str, bytes] = {}
    with contextlib.suppress(OSError, AttributeError):
        for name in os.listxattr(path, follow_symlinks=False):
            if name not in _OF_THE_BYTES:
                with contextlib.suppress(OSError):
                    attributes[name] = os.getxattr(path, name, follow_symlinks=False)
    return attributes


def _take_over(fd: int, attributes: dict[str, bytes]) -> bool:
    """Set the attributes, and return whether the access control list is the same then."""
    for name, value in attributes.items():
        try:
            os.setxattr(fd, name, value)
        except OSError:
            if name == ACL:
                return False
    if ACL in attributes:
        return True
    with contextlib.suppress(OSError, AttributeError):
        if ACL in os.listxattr(fd):  # inherited from the directory in which it was made
            os.removexattr(fd, ACL)
    return True
