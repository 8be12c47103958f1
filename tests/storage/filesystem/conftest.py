"""What the tests of the file system store share: a directory, a store in it, and what lies outside."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import store_in

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> FileSystemStore:
    return store_in(root)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the root, with a secret in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    return outside


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user whom permissions hold back, who runs the test."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        if user == 0:
            os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield path
        finally:
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o700)
            os.seteuid(user)
