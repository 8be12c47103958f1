"""Ctrl-C, whatever `encore tail` is doing: one line, status 130, and never a traceback."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from encore_storage.cli import tail
from tests.cli.conftest import Encore
from tests.cli.scripted import STREAM, Scripted, answer, reading
from tests.cli.support import LONG, Done, start

INTERRUPTED = "encore: interrupted\n"
PAGE = 4096  # bytes: no line is longer, and none is in two pages of a pipe


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture(params=[(), ("--json",)], ids=["lines", "json"])
def process(server: Scripted, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with reading(start("tail", server.url, *request.param, interrupted=True)) as process:
        yield process


def interrupt(process: subprocess.Popen[str]) -> Done:
    """Press Ctrl-C once, and wait for the end; what is written meanwhile is not read before."""
    os.killpg(process.pid, signal.SIGINT)
    status = process.wait(LONG)
    assert process.stdout is not None
    assert process.stderr is not None
    return Done(status, process.stdout.read(), process.stderr.read())


def test_while_it_waits_for_an_answer(server: Scripted, process: subprocess.Popen[str]) -> None:
    server.accept()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_it_waits_for_the_rest_of_a_refusal(server: Scripted, process: subprocess.Popen[str]) -> None:
    server.accept(answer("404 Not Found", b"{", {"Content-Length": "100"}))

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_it_waits_for_an_event(server: Scripted, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    server.accept(STREAM).tell(1)
    assert "archive" in process.stdout.readline()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_it_waits_to_try_again(server: Scripted, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    server.accept(STREAM, b"retry: 10000\n\n").close()
    assert "lost" in process.stderr.readline()

    assert interrupt(process) == (130, "", INTERRUPTED)


def test_while_nobody_reads_what_it_writes(server: Scripted, process: subprocess.Popen[str]) -> None:
    conversation = server.accept(STREAM)
    for number in range(1000):  # lines of some 90 bytes: more than a pipe holds
        conversation.tell(number)
    until_the_pipe_is_full(process)

    told = interrupt(process)

    assert (told.status, told.err) == (130, INTERRUPTED)


def test_in_a_pipe(server: Scripted) -> None:
    pipe = ("bash", "-c", 'trap : INT; "$0" "$@" | cat; exit ${PIPESTATUS[0]}')
    with reading(start("tail", server.url, launcher=pipe, interrupted=True)) as process:
        assert process.stdout is not None
        server.accept(STREAM).tell(1)
        assert "archive" in process.stdout.readline()

        assert interrupt(process) == (130, "", INTERRUPTED)


def test_where_it_means_something_else_it_still_does(encore: Encore, server: Scripted) -> None:
    server.close()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert encore("tail", server.url).status == 1
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_as_before_once_the_command_is_over(encore: Encore, server: Scripted) -> None:
    server.close()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert encore("tail", server.url).status == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_end_is_told_though_standard_error_is_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with tail.ended_by_ctrl_c():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert ended == [130]
    assert capsys.readouterr() == ("", "")


def until_the_pipe_is_full(process: subprocess.Popen[str]) -> None:
    """Wait until there is no room for another line in what it writes to."""
    assert process.stdout is not None
    size, unread = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ), 0
    while unread < size - 2 * PAGE:
        time.sleep(0.005)
        unread = int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)), sys.byteorder)
