"""A port that is taken: no command joins another one's page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.recording import Recorder
from tests.cli.conftest import Encore
from tests.cli.scripted import running
from tests.cli.support import command, start
from tests.processes.programs import free_port


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    manager, path = EventManager(), tmp_path / "recording.jsonl"
    with Recorder(path).connect(manager):
        DictMemoryStore(event_manager=manager).from_bytes("a", b"1")
    return path


@contextmanager
def refusal(recording: Path, port: int) -> Iterator[str]:
    """Serve a page on the port for a block, with a replay, and yield the error of the others."""
    with running(start("replay", recording, "--keep-serving", "--port", port, interrupted=True)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"page: http://127.0.0.1:{port}/\n"
        yield (
            f"encore: nothing can be served on port {port} of '127.0.0.1': 'encore', process {process.pid} holds it; "
            "choose another port, or 0 for one that is free\n"
        )


def test_port_of_the_same_command_is_refused(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENCORE_GROUP", raising=False)
    port = free_port()
    with refusal(recording, port) as expected:
        result = command("replay", recording, "--port", port)

        assert (result.status, result.err) == (1, expected)


def test_inherited_group_makes_no_command_join_another(
    encore: Encore, recording: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCORE_GROUP", "shop")
    port = free_port()
    with refusal(recording, port) as expected:
        for arguments in (["replay", recording], ["copy", source, "memory:"], ["demo"]):
            result = encore(*arguments, "--port", port)

            assert (result.status, result.err) == (1, expected)
