"""Fixtures for fsspec's own suite of file systems; ENCORE_PLAIN=1 runs it without observing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.cached import SimpleCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.tests import abstract

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent, StoreProgressStartEvent


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    """Observes the file system, and checks that each operation started and ended once."""

    def make(self, tmpdir: Path) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def fs(self, tmpdir: Path, manager: EventManager) -> Iterator[Any]:
        recorder = EventRecorder(manager)
        fs = self.make(tmpdir)
        if os.environ.get("ENCORE_PLAIN") == "1":
            yield fs
            return
        observe(fs, event_manager=manager)
        yield fs
        unobserve(fs)
        starts = [event.operation_id for event in recorder.of(StoreProgressStartEvent)]
        ends = [event.operation_id for event in recorder.of(StoreProgressEndEvent)]
        assert len(set(starts)) == len(starts)
        assert sorted(starts) == sorted(ends)

    @pytest.fixture
    def fs_path(self, tmpdir: Path) -> str:
        return ""


class Memory(Fixtures):
    def make(self, tmpdir: Path) -> Any:
        return MemoryFileSystem(skip_instance_cache=True, global_store=False)

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *args: "/".join(args)


class Local(Fixtures):
    def make(self, tmpdir: Path) -> Any:
        return LocalFileSystem(auto_mkdir=True, skip_instance_cache=True)

    @pytest.fixture
    def fs_path(self, tmpdir: Path) -> str:
        return str(tmpdir)

    @pytest.fixture
    def fs_sanitize_path(self) -> Any:
        return make_path_posix


class Directory(Memory):
    def make(self, tmpdir: Path) -> Any:
        inner = super().make(tmpdir)
        inner.mkdir("/root")
        return DirFileSystem("/root", inner, skip_instance_cache=True)


class Cache(Memory):
    def make(self, tmpdir: Path) -> Any:
        return SimpleCacheFileSystem(fs=super().make(tmpdir), skip_instance_cache=True)
