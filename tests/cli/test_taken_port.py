"""A port that is taken: no command joins another one's page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from encore_events import EventManager
from encore_storage import DictMemoryStore
from encore_storage.recording import Recorder
from tests.cli.conftest import Encore
from tests.cli.scripted import running
from tests.cli.support import command, start


class Holder(NamedTuple):
    """A command that serves a page."""

    process: subprocess.Popen[str]
    port: str


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    manager, path = EventManager(), tmp_path / "recording.jsonl"
    with Recorder(path).connect(manager):
        DictMemoryStore(event_manager=manager).from_bytes("a", b"1")
    return path


@pytest.fixture
def holder(recording: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    monkeypatch.delenv("ENCORE_GROUP", raising=False)
    with running(start("replay", recording, "--keep-serving", interrupted=True)) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"page: http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
        assert found is not None
        yield Holder(process, found[1])


def refusal(holder: Holder) -> str:
    return (
        f"encore: nothing can be served on port {holder.port} of '127.0.0.1': 'encore', process {holder.process.pid} "
        "holds it; choose another port, or 0 for one that is free\n"
    )


def test_port_of_the_same_command_is_refused(holder: Holder, recording: Path) -> None:
    result = command("replay", recording, "--port", holder.port)

    assert (result.status, result.err) == (1, refusal(holder))


def test_inherited_group_makes_no_command_join_another(
    encore: Encore, recording: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENCORE_GROUP", "shop")
    with running(start("replay", recording, "--keep-serving", interrupted=True)) as process:
        assert process.stdout is not None
        port = process.stdout.readline().rstrip("/\n").rpartition(":")[2]
        for arguments in (["replay", recording], ["copy", source, "memory:"], ["demo"]):
            result = encore(*arguments, "--port", port)

            assert (result.status, result.err) == (1, refusal(Holder(process, port)))
