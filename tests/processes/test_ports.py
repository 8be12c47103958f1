"""The holder of a port, as messages name it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from encore_storage.processes.ports import holder_of

LISTENER = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says who holds a port")


def test_holder_is_named_without_its_options(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(LISTENER)
    command = [sys.executable, "-W", "error", str(tmp_path / "shop.py"), "--password=secret"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None

        named = holder_of(int(holder.stdout.readline()))

        holder.kill()
    assert named is not None
    assert named.endswith(f", process {holder.pid}")
    assert "secret" not in named


def test_program_itself_can_be_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        named = holder_of(server.getsockname()[1])

    assert named is not None
    assert named.endswith(f"process {os.getpid()}")


def test_free_port_has_no_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert holder_of(port) is None
