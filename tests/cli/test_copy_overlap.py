"""Overlapping source and target: refused or skipped, also through links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage.cli.names import StoreName
from encore_storage.cli.overlap import keys_in
from encore_storage.stores import FileSystemStore, SqliteStore
from tests.cli.conftest import FILES, Encore
from tests.cli.support import read, write


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create nested directories, and links to them, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"photos/a.txt": b"outer", "photos/2026/a.txt": b"middle", "photos/2026/2026/a.txt": b"inner"})
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "deep").symlink_to(tmp_path / "photos" / "2026")
    return tmp_path


def database(path: Path, *keys: str) -> None:
    with SqliteStore(path, event_manager=EventManager()) as store:
        for key in keys:
            store.from_bytes(key, b"value of the source")


class TestDirectories:
    """Directories inside each other."""

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            ("photos/2026", "photos"),
            ("photos/2026", "."),
            ("photos/2026/2026", "photos"),
            ("photos/2026", "link"),
            ("link/2026", "photos"),
            ("elsewhere/deep", "photos"),
            ("elsewhere/deep/2026", "link"),
            ("photos/2026", "photos/2026/.."),
            ("photos/2026", "/"),
        ],
    )
    @pytest.mark.parametrize("option", ["--no-progress", "--verify"])
    def test_source_inside_the_target_is_refused(
        self, encore: Encore, photos: Path, source: str, target: str, option: str
    ) -> None:
        before = read(photos)

        result = encore("copy", source, target, option)

        assert result.status == 2
        assert result.err == (
            f"encore: the source {source!r} is inside the target {target!r} and would be overwritten: "
            "give another target\n"
        )
        assert read(photos) == before

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("photos", "photos/"),
            ("photos", "./link"),
            ("link", "photos"),
            ("photos/2026", "elsewhere/deep"),
            ("photos", "photos/2026/.."),
            ("sqlite:photos/x.db", "sqlite:link/x.db"),
            ("sqlite:photos/x.db", "sqlite:hard.db"),
            ("sqlite:soft.db", "sqlite:photos/x.db"),
        ],
    )
    def test_same_store_is_refused(self, encore: Encore, photos: Path, one: str, other: str) -> None:
        database(photos / "photos" / "x.db", "a")
        (photos / "hard.db").hardlink_to(photos / "photos" / "x.db")
        (photos / "soft.db").symlink_to("photos/x.db")
        before = read(photos)

        result = encore("copy", one, other)

        assert (result.status, result.err) == (2, f"encore: {one!r} and {other!r} are the same store\n")
        assert read(photos) == before

    @pytest.mark.parametrize(
        ("source", "target", "skipped"),
        [
            ("photos", "photos/copies", "copies"),
            ("photos", "photos/2026/copies", "2026/copies"),
            ("photos", "link/2026/new/copies", "2026/new/copies"),
            ("link", "photos/copies", "copies"),
            ("photos", "elsewhere/deep/copies", "2026/copies"),
            (".", "copies", "copies"),
        ],
    )
    def test_target_inside_the_source_is_skipped(
        self, encore: Encore, photos: Path, source: str, target: str, skipped: str
    ) -> None:
        expected = {key: data for key, data in read(photos / source).items() if not Path(source, key).is_symlink()}
        for arrived in ("", f" ({len(expected)} already up to date)"):
            result = encore("copy", source, target, "--transaction-size", 1)

            assert (result.status, result.last_line) == (
                0,
                f"{len(expected)} of {len(expected)} keys copied{arrived}",
            )
            assert f"encore: skipped {skipped!r}: this command writes there\n" in result.err
            assert "1 file of this command" in result.out

        with FileSystemStore(photos / target, event_manager=EventManager()) as store:
            assert {key: store.to_bytes(key) for key in store.query_keys()} == expected

    @pytest.mark.parametrize("target", ["photos/.encore", "photos/.encore/deep", "sqlite:photos/.encore/lock"])
    def test_target_inside_the_metadata_directory_is_refused(self, encore: Encore, photos: Path, target: str) -> None:
        FileSystemStore("photos", event_manager=EventManager()).set_metadata("a.txt", {"n": 1})

        result = encore("copy", "photos", target)

        assert result.status == 2
        assert "is inside the metadata directory of the source 'photos'" in result.err

    @pytest.mark.parametrize("names", [("photos", "photos-2"), ("photos/2026", "photos/2026-copy")])
    def test_common_name_prefix_is_not_an_overlap(self, encore: Encore, photos: Path, names: tuple[str, str]) -> None:
        assert encore("copy", *names).status == 0
        assert read(photos / names[0]) == read(photos / names[1])

    def test_files_with_the_prefix_of_the_target_are_copied(self, encore: Encore, source: Path) -> None:
        write(source, {"backup-of-a": b"1", "backup.txt": b"2"})

        encore("copy", source, source / "backup")

        assert set(read(source / "backup")) == {*FILES, "backup-of-a", "backup.txt"}


class TestDatabases:
    """Databases inside the directory on the other side."""

    @pytest.mark.parametrize("place", ["a.db", "b/a.db", "new/../a.db"])
    @pytest.mark.parametrize("is_linked", [False, True])
    def test_target_inside_the_source_is_skipped(
        self, encore: Encore, source: Path, place: str, is_linked: bool
    ) -> None:
        (source / "new").mkdir()
        name = os.path.normpath(place)
        database(source / name)
        if is_linked:
            (source / "hard").hardlink_to(source / name)

        for _ in range(2):
            result = encore("copy", source, f"sqlite:{source / place}")
            assert result.status == 0

        assert f"encore: skipped {name!r}: " in result.err
        assert ("encore: skipped 'hard': " in result.err) == is_linked
        with SqliteStore(source / name, event_manager=EventManager()) as store:
            assert set(store.query_keys()) == set(FILES)

    @pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
    @pytest.mark.parametrize("target", [".", "link", "elsewhere"])
    def test_key_named_like_the_source_database_fails(
        self, encore: Encore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, suffix: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        database(tmp_path / "a.db", f"a.db{suffix}", "b")
        (tmp_path / "link").symlink_to(tmp_path)
        (tmp_path / "elsewhere").symlink_to("link")

        result = encore("copy", "sqlite:a.db", target, "--verify")

        assert (result.status, result.last_line) == (1, "1 of 2 keys copied, 1 failed")
        assert result.err == (
            f"encore: failed to copy 'a.db{suffix}': this command uses the file of that name in the target\n"
        )
        assert (tmp_path / "b").read_bytes() == b"value of the source"
        with SqliteStore(tmp_path / "a.db", event_manager=EventManager()) as store:
            assert set(store.query_keys()) == {f"a.db{suffix}", "b"}

    def test_hard_link_to_the_source_database_fails(self, encore: Encore, tmp_path: Path) -> None:
        database(tmp_path / "a.db", "x")
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "x").hardlink_to(tmp_path / "a.db")

        result = encore("copy", f"sqlite:{tmp_path}/a.db", tmp_path / "target")

        assert result.status == 1
        assert "has that database open" in result.err
        with SqliteStore(tmp_path / "a.db", event_manager=EventManager()) as store:
            assert store.to_bytes("x") == b"value of the source"

    def test_other_database_in_the_source_is_copied(self, encore: Encore, source: Path) -> None:
        database(source / "other.db", "k")

        result = encore("copy", source, f"sqlite:{source / 'a.db'}")

        assert result.status == 0
        with SqliteStore(source / "a.db", event_manager=EventManager()) as store:
            assert store.to_bytes("other.db") == (source / "other.db").read_bytes()


class TestLogFiles:
    """Log files inside the source or the target."""

    @pytest.mark.parametrize("name", ["source.db", "target.db", "target.db-wal"])
    def test_database_as_log_file_is_refused(self, encore: Encore, tmp_path: Path, name: str) -> None:
        database(tmp_path / "source.db", "a")
        before = (tmp_path / "source.db").read_bytes()

        result = encore(
            "copy", f"sqlite:{tmp_path}/source.db", f"sqlite:{tmp_path}/target.db", "--log-file", tmp_path / name
        )

        assert result.status == 2
        assert "is a file of a copied database" in result.err
        assert (tmp_path / "source.db").read_bytes() == before

    def test_log_file_inside_the_source_is_skipped_under_all_names(self, encore: Encore, source: Path) -> None:
        (source / "log").touch()
        (source / "hard").hardlink_to(source / "log")

        result = encore("copy", source, "memory:", "--log-file", source / "log")

        assert (result.status, result.last_line) == (0, "4 of 4 keys copied")
        assert "skipped 'hard'" in result.err
        assert "skipped 'log'" in result.err

    def test_key_named_like_the_log_file_fails(self, encore: Encore, source: Path, tmp_path: Path) -> None:
        write(source, {"copy.log": b"of the source"})
        (tmp_path / "target").mkdir()

        result = encore("copy", source, tmp_path / "target", "--log-file", tmp_path / "target" / "copy.log")

        assert (result.status, result.last_line) == (1, "4 of 5 keys copied, 1 failed")
        assert b'"store.operation.ended"' in (tmp_path / "target" / "copy.log").read_bytes()


def test_keys_in_is_empty_unless_the_target_is_a_directory(tmp_path: Path) -> None:
    inside, outside = tmp_path / "archive" / "b" / "c", tmp_path / "archive.log"

    assert keys_in(StoreName.parse(f"{tmp_path}/archive"), [inside, outside]) == ["b/c"]
    assert keys_in(StoreName.parse(f"sqlite:{tmp_path}/archive"), [inside, outside]) == []
