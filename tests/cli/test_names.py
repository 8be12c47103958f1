"""Names of stores on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.cli.errors import StoreNameError
from encore_storage.cli.names import SCHEMES, StoreName
from encore_storage.stores import DictMemoryStore, FileSystemStore, SqliteStore


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("archive", "directory", "archive"),
        ("/var/archive", "directory", "/var/archive"),
        ("./s3:archive", "directory", "./s3:archive"),
        ("a/b:c", "directory", "a/b:c"),
        ("2024:archive", "directory", "2024:archive"),
        ("sqlite:archive.db", "sqlite", "archive.db"),
        ("sqlite:/var/a:b.db", "sqlite", "/var/a:b.db"),
        ("memory:", "memory", None),
    ],
)
def test_parse_returns_scheme_and_path(text: str, scheme: str, path: str | None) -> None:
    assert StoreName.parse(text) == StoreName(text, scheme, None if path is None else Path(path))


@pytest.mark.parametrize(
    "text", ["", "s3://bucket/a", "http:x", "file:///tmp", "sqlite:", "memory:x", "SQLITE:a.db", "a:\n"]
)
def test_parse_refuses_other_names(text: str) -> None:
    with pytest.raises(StoreNameError, match="is not a store: give a directory, sqlite:PATH or memory:") as caught:
        StoreName.parse(text)

    assert isinstance(caught.value, ValueError)
    assert SCHEMES in str(caught.value)


def test_directory_named_like_a_scheme_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos:old").mkdir()

    with pytest.raises(StoreNameError, match=r"\(if you mean the directory, give \./photos:old\)"):
        StoreName.parse("photos:old")
    assert StoreName.parse("./photos:old").files() == [tmp_path / "photos:old"]


def test_files_resolves_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("archive").mkdir()
    Path("link").symlink_to("archive")

    assert [StoreName.parse(text).files() for text in ("archive", "archive/", "./link", "../" + tmp_path.name)] == [
        [tmp_path / "archive"],
        [tmp_path / "archive"],
        [tmp_path / "archive"],
        [tmp_path],
    ]
    assert StoreName.parse("sqlite:link/a.db").files() == [
        tmp_path / "archive" / name for name in ("a.db", "a.db-wal", "a.db-shm")
    ]
    assert StoreName.parse("memory:").files() == []


def test_files_accepts_circular_links(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")

    assert StoreName.parse(str(tmp_path / "circle")).files() == [tmp_path / "circle"]


@pytest.mark.parametrize(
    ("text", "cls"),
    [("archive", FileSystemStore), ("sqlite:archive", SqliteStore), ("memory:", DictMemoryStore)],
)
def test_open_target_creates_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: EventManager, text: str, cls: type[object]
) -> None:
    monkeypatch.chdir(tmp_path)

    with StoreName.parse(text).open_target(manager) as store:
        assert type(store) is cls
        assert store.name == "target"
        assert store.event_manager is manager
        assert (tmp_path / "archive").exists() == (text != "memory:")


@pytest.mark.parametrize("text", ["archive", "sqlite:archive", "memory:"])
def test_open_source_opens_an_existing_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: EventManager, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    StoreName.parse(text).open_target(manager).disconnect()

    with StoreName.parse(text).open_source(manager) as store:
        assert store.name == "source"
        assert store.event_manager is manager


@pytest.mark.parametrize(
    ("text", "words"),
    [("archive", "no directory 'archive' to read from"), ("sqlite:archive", "no database 'archive' to read from")],
)
def test_open_source_does_not_create_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: EventManager, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StoreNameError, match=words):
        StoreName.parse(text).open_source(manager)
    assert not (tmp_path / "archive").exists()


def test_open_source_refuses_an_empty_database_file(tmp_path: Path, manager: EventManager) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()

    with pytest.raises(StoreNameError, match="there is no database"):
        StoreName.parse(f"sqlite:{empty}").open_source(manager)

    assert empty.read_bytes() == b""
