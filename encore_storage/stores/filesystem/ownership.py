"""Owner, group, permissions and extended attributes of a file, and how to copy them to another."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

ACL = "system.posix_acl_access"

OF_VALUES = 0o1777  # permissions copied to a value; setuid and setgid are lost, as with any write to a file
OF_METADATA = 0o666  # permissions of a value that are copied to its metadata
_OF_THE_BYTES = frozenset({"security.capability", "security.evm", "security.ima"})  # were granted to these bytes only


class Original(NamedTuple):
    """A file whose access rights are copied to another: to its replacement, or to its metadata file.

    Attributes:
        found: the result of `os.stat`.
        attributes: its extended attributes, or None if they are not copied.
    """

    found: os.stat_result
    attributes: dict[str, bytes] | None = None

    @classmethod
    def of(cls, name: str, parent: int, known: Original | None) -> Original:
        """Examine a file in an open directory; return `known` if it is that file, unchanged."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if known is not None and known.is_unchanged(found):
            return known
        return cls(found, _attributes_of(f"/proc/self/fd/{parent}/{name}") if stat.S_ISREG(found.st_mode) else None)

    def for_metadata(self) -> Original:
        """Return a copy that has only the attribute that controls read access."""
        if self.attributes is None:
            return self
        return Original(self.found, {name: value for name, value in self.attributes.items() if name == ACL})

    def is_unchanged(self, found: os.stat_result) -> bool:
        """Return whether neither the file nor its access rights have changed."""
        return (self.found.st_ino, self.found.st_ctime_ns) == (found.st_ino, found.st_ctime_ns)


def copy_access(fd: int, made: os.stat_result, original: Original, permissions: int) -> bool:
    """Copy the original's owner, permissions and attributes to a new file; return whether access is the same.

    If the group or the access control list cannot be copied, the group gets no permissions that others don't have.

    Args:
        fd: the new file.
        made: the result of `os.fstat` for it.
        original: the file to copy from.
        permissions: the mask of the permissions to copy.
    """
    has_owner, has_group = copy_owner(fd, made, original.found)
    has_list = original.attributes is None or _copy_attributes(fd, original.attributes)
    mode = stat.S_IMODE(original.found.st_mode) & permissions
    if not (has_group and has_list):
        mode &= ~0o070 | (mode & 0o007) << 3
    has_mode = True
    if mode != stat.S_IMODE(made.st_mode) or original.attributes:
        try:
            os.fchmod(fd, mode)
        except OSError:  # a file system without permissions
            has_mode = False
    return has_owner and has_group and has_list and has_mode


def copy_owner(fd: int, made: os.stat_result, found: os.stat_result) -> tuple[bool, bool]:
    """Copy the owner and the group of a file to a new one; return whether each of them is the same."""
    if (made.st_uid, made.st_gid) == (found.st_uid, found.st_gid):
        return True, True
    for owner, group in ((found.st_uid, found.st_gid), (-1, found.st_gid)):
        with contextlib.suppress(OSError):  # not permitted, or unknown to the file system
            os.fchown(fd, owner, group)
            return owner != -1 or made.st_uid == found.st_uid, True
    return made.st_uid == found.st_uid, made.st_gid == found.st_gid


def _attributes_of(path: str) -> dict[str, bytes]:
    """Return the readable extended attributes of a file. Most systems and most files have none."""
    attributes: dict[str, bytes] = {}
    with contextlib.suppress(OSError, AttributeError):
        for name in os.listxattr(path, follow_symlinks=False):
            if name not in _OF_THE_BYTES:
                with contextlib.suppress(OSError):
                    attributes[name] = os.getxattr(path, name, follow_symlinks=False)
    return attributes


def _copy_attributes(fd: int, attributes: dict[str, bytes]) -> bool:
    """Set the attributes; return whether the access control list is the same."""
    for name, value in attributes.items():
        try:
            os.setxattr(fd, name, value)
        except OSError:
            if name == ACL:
                return False
    if ACL in attributes:
        return True
    with contextlib.suppress(OSError, AttributeError):
        if ACL in os.listxattr(fd):  # inherited from the directory
            os.removexattr(fd, ACL)
    return True
