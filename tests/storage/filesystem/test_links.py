"""Tests of FileSystemStore with symbolic links, pipes and sockets: not values, never followed, never blocking."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from encore_storage.errors import ConflictError, InvalidKeyError, KeyNotFoundError
from encore_storage.stores import FileSystemStore
from tests.storage.filesystem.support import ActingSource, files_in, put


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


@pytest.fixture
def linked(root: Path, outside: Path) -> Path:
    """A root with links to a directory outside, a file outside, and a file inside."""
    (root / "file").write_bytes(b"inside")
    (root / "out").symlink_to(outside)
    (root / "secret").symlink_to(outside / "secret")
    (root / "in").symlink_to(root / "file")
    return root


@pytest.mark.parametrize("key", ["out/secret", "secret", "in"])
def test_link_is_not_read(linked: Path, store: FileSystemStore, key: str) -> None:
    assert not store.exists(key)
    with pytest.raises(KeyNotFoundError):
        store.get(key)
    with pytest.raises(KeyNotFoundError):
        store.to_bytes(key)
    assert list(store.query()) == [("file", {})]


@pytest.mark.parametrize("key", ["out/secret", "out/new", "out/new/newer", "secret", "in"])
def test_link_is_neither_followed_nor_replaced_by_a_write(
    linked: Path, outside: Path, store: FileSystemStore, key: str
) -> None:
    with pytest.raises(InvalidKeyError, match=r"(a symbolic link exists at its path|parents is not a directory)$"):
        put(store, key, b"changed", kind="k")
    with pytest.raises(InvalidKeyError):
        store.set_metadata(key, {"kind": "k"})
    with pytest.raises(KeyNotFoundError):
        store.delete(key)

    assert files_in(outside) == {"secret": b"secret"}
    assert (linked / "file").read_bytes() == b"inside"


def test_directory_replaced_by_a_link_during_a_set_is_not_followed(
    root: Path, outside: Path, store: FileSystemStore
) -> None:
    store.from_bytes("a/b", b"1")

    def replace_by_link() -> None:
        (root / "a").rename(root / "aside")
        (root / "a").symlink_to(outside)

    with pytest.raises(InvalidKeyError):
        store.set_data("a/secret", ActingSource(replace_by_link))

    assert files_in(outside) == {"secret": b"secret"}


@pytest.mark.parametrize("own", [".encore", ".encore/metadata", ".encore/tmp"])
def test_own_directory_that_is_a_link_is_not_followed(
    root: Path, outside: Path, store: FileSystemStore, own: str
) -> None:
    (root / "a").write_bytes(b"1")
    (root / own).parent.mkdir(exist_ok=True)
    (root / own).symlink_to(outside)

    with pytest.raises(NotADirectoryError, match=str(root / own)):
        put(store, "a", b"2", kind="k")

    assert files_in(outside) == {"secret": b"secret"}
    assert (store.to_bytes("a"), store.get_metadata("a")) == (b"1", {})


def test_metadata_file_that_is_a_link_is_not_read(root: Path, outside: Path, store: FileSystemStore) -> None:
    put(store, "a", b"1", kind="k")
    (file,) = (root / ".encore" / "metadata").iterdir()
    file.rename(outside / file.name)
    file.symlink_to(outside / file.name)

    assert store.get_metadata("a") == {}


@pytest.mark.parametrize("make", [os.mkfifo, make_socket], ids=["pipe", "socket"])
def test_special_file_is_not_a_value_and_does_not_block(
    root: Path, store: FileSystemStore, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    make(root / "special")

    assert (store.exists("special"), list(store.query_keys())) == (False, [])
    with pytest.raises(KeyNotFoundError):
        store.to_bytes("special")
    with pytest.raises(InvalidKeyError, match="a special file exists at its path"):
        store.from_bytes("special", b"1")


@pytest.mark.parametrize("kind", ["pipe", "socket", "link", "link above", "file above", "directory", "nothing"])
def test_value_replaced_by_something_else_raises_conflict_error(
    root: Path, outside: Path, store: FileSystemStore, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    store.from_bytes("a/secret", b"secret")
    value = store.get("a/secret")
    (root / "a" / "secret").unlink()
    (root / "a").rmdir()
    makers: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "socket": make_socket,
        "link": lambda path: path.symlink_to(outside / "secret"),
        "link above": lambda path: path.symlink_to(outside),
        "file above": lambda path: path.write_bytes(b""),
        "directory": Path.mkdir,
        "nothing": Path.exists,
    }
    path = root / "a"
    if kind not in ("link above", "file above"):
        path.mkdir()
        path = path / "secret"
        monkeypatch.chdir(root / "a")
    makers[kind](path)

    with pytest.raises(ConflictError, match="'a/secret'"):
        value.data.read(-1)
