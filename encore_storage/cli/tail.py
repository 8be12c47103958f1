"""The command `encore tail`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from encore_events.printing import printable, printable_json
from encore_storage.cli.address import EventsAddress, Query
from encore_storage.cli.errors import NobodyReadsError
from encore_storage.cli.event_types import check_types, notes_on_types
from encore_storage.cli.interrupts import end_process, handled
from encore_storage.cli.lines import EventLines, is_quiet
from encore_storage.cli.output import discard_output
from encore_storage.cli.status import CLOSED
from encore_storage.subscribers.errors import MissingExtraError

if TYPE_CHECKING:  # an extra
    from httpx_sse import ServerSentEvent


def run_tail(address: EventsAddress, query: Query, *, token: str | None, as_json: bool) -> int:
    """Print events until standard output is closed, and return the exit status. Ctrl-C ends the process.

    Raises:
        EventsAddressError: the address cannot be used.
        UnknownTypeError: a pattern matches no type of events.
        RefusedError: the server refuses to send events.
        UnreachableError: the server does not answer.
        MissingExtraError: httpx is not installed.
        OSError: standard output cannot be written.
    """
    asked = (*address.query, *query)
    check_types(asked)
    with handled(signal.SIGINT, end_process):
        try:
            from encore_storage.cli.following import Follower  # noqa: PLC0415 (an extra, and slow to load)
        except ModuleNotFoundError as error:
            raise MissingExtraError("encore tail", error.name or "httpx", "cli") from error
        tail = Tail(show_all=any(name == "type" for name, _ in asked), as_json=as_json)
        for note in notes_on_types(asked):
            tail.print_note(note)
        try:
            for message in Follower(address, query, token=token, notify=tail.print_note):
                tail.print_message(message)
        except NobodyReadsError:
            return CLOSED
    raise AssertionError("a follower ends only with an error")


class Tail:
    """Prints events to standard output, and notes to standard error.

    Args:
        show_all: whether to print started and progress events too.
        as_json: whether to print each event as received, with terminal codes escaped.
    """

    def __init__(self, *, show_all: bool, as_json: bool) -> None:
        self._show_all = show_all
        self._as_json = as_json
        self._console = Console(highlight=False)
        is_terminal = sys.stdout is not None and sys.stdout.isatty()  # FORCE_COLOR makes rich believe it anywhere
        self._lines = EventLines(console=self._console if is_terminal else None)
        self._notes = Console(stderr=True, highlight=False)
        self._has_complained = False

    def __repr__(self) -> str:
        return f"<Tail of {'JSON' if self._as_json else 'lines'}>"

    def print_note(self, sentence: str) -> None:
        """Print a note if possible."""
        with contextlib.suppress(OSError, AttributeError):  # closed, or nobody reads it
            note = Text(f"-- {printable(sentence)}", "yellow")
            sys.stderr.write(_rendered(self._notes, note, wraps=sys.stderr.isatty()))
            sys.stderr.flush()

    def print_message(self, message: ServerSentEvent) -> None:
        """Print an event or a note about a gap. Raises NobodyReadsError, or OSError if it cannot be written."""
        if message.event == "gap":
            self.print_note(_gap(message.data))
        if message.event != "message" or not message.data:
            _check_reader()
            return
        event = _parse(message.data)
        if event is None:
            if not self._has_complained:
                self.print_note("ignoring messages that are not events")
            self._has_complained = True
        elif self._as_json:
            text = printable_json(message.data.replace("\n", " "))  # newlines can only be between tokens
            _write(text.encode() + b"\n")
        elif self._show_all or not is_quiet(event["type"]):
            _fit(self._console)
            line = _rendered(self._console, self._lines.line(event))
            _write(line.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace"))


def _parse(data: str) -> dict[str, Any] | None:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def _gap(data: str) -> str:
    try:
        gap = json.loads(data)
        missed, reason, process = gap["missed"], gap["reason"], gap.get("process")
    except (ValueError, RecursionError, LookupError, TypeError):
        missed = reason = process = None
    if reason == "restart":
        return "the program was restarted"
    if reason == "handover" and isinstance(process, int):
        return f"another process of the program, {process}, serves the page now: some events may be missing"
    if not isinstance(missed, int):
        return "some events were missed"
    return f"{missed:,} event{' was' if missed == 1 else 's were'} missed"


def _rendered(console: Console, text: Text, *, wraps: bool = False) -> str:
    with console.capture() as capture:
        console.print(text, soft_wrap=not wraps)
    return capture.get()


def _fit(console: Console) -> None:
    """Set the width of the console to that of the terminal, which may have changed; COLUMNS may be of another one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not a terminal
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
        if columns > 0:
            console.width = columns


def _write(line: bytes) -> None:
    if sys.stdout is None:
        raise NobodyReadsError
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        discard_output(sys.stdout)
        raise NobodyReadsError from error
    except OSError:
        discard_output(sys.stdout)
        raise


def _check_reader() -> None:
    """Raise NobodyReadsError if standard output is a pipe that nobody reads; no write would detect it for now."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, AttributeError):  # not a file of the operating system
        return
    if any(happened & select.POLLERR for _, happened in poll.poll(0)):
        raise NobodyReadsError
