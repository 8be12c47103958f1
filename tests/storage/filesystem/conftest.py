"""Fixtures of the tests of FileSystemStore."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import store_in


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
