"""Ctrl-C in any state of `encore tail`: one line, status 130, no traceback."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from encore_storage.cli.interrupts import end_process, handled
from tests.cli.conftest import Encore
from tests.cli.scripted import STREAM, ScriptedServer, answer, running
from tests.cli.support import TIMEOUT, Result, start

INTERRUPTED = "encore: interrupted\n"
PAGE = 4096  # bytes; no line is longer, and none spans two pages of a pipe


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(params=[(), ("--json",)], ids=["lines", "json"])
def process(server: ScriptedServer, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with running(start("tail", server.url, *request.param, interrupted=True)) as process:
        yield process


def interrupt(process: subprocess.Popen[str]) -> Result:
    """Interrupt the process and wait for its end; only then read its output."""
    os.killpg(process.pid, signal.SIGINT)
    status = process.wait(TIMEOUT)
    assert process.stdout is not None
    assert process.stderr is not None
    return Result(status, process.stdout.read(), process.stderr.read())


def test_while_waiting_for_a_response(server: ScriptedServer, process: subprocess.Popen[str]) -> None:
    server.accept()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_reading_an_error_response(server: ScriptedServer, process: subprocess.Popen[str]) -> None:
    server.accept(answer("404 Not Found", b"{", {"Content-Length": "100"}))

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_waiting_for_an_event(server: ScriptedServer, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    server.accept(STREAM).send_event(1)
    assert "archive" in process.stdout.readline()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_waiting_to_reconnect(server: ScriptedServer, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    server.accept(STREAM, b"retry: 10000\n\n").close()
    assert "lost" in process.stderr.readline()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_blocked_on_a_full_pipe(server: ScriptedServer, process: subprocess.Popen[str]) -> None:
    conversation = server.accept(STREAM)
    for number in range(1000):  # lines of some 90 bytes; together more than a pipe holds
        conversation.send_event(number)
    wait_for_full_pipe(process)

    result = interrupt(process)

    assert (result.status, result.err) == (130, INTERRUPTED)


def test_in_a_pipe(server: ScriptedServer) -> None:
    pipe = ("bash", "-c", 'trap : INT; "$0" "$@" | cat; exit ${PIPESTATUS[0]}')
    with running(start("tail", server.url, launcher=pipe, interrupted=True)) as process:
        assert process.stdout is not None
        server.accept(STREAM).send_event(1)
        assert "archive" in process.stdout.readline()

        assert interrupt(process) == (130, "", INTERRUPTED)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "default"])
def test_signal_handler_is_as_before(encore: Encore, server: ScriptedServer, handler: Any) -> None:
    server.close()
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert encore("tail", server.url).status == 1
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_exit_without_a_standard_error_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with handled(signal.SIGINT, end_process):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert ended == [130]
    assert capsys.readouterr() == ("", "")


def wait_for_full_pipe(process: subprocess.Popen[str]) -> None:
    """Wait until the pipe has no room for another line."""
    assert process.stdout is not None
    size, unread = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ), 0
    while unread < size - 2 * PAGE:
        time.sleep(0.005)
        unread = int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
