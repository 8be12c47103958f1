"""Shows the events of another program as they come: as lines for a person, or as JSON for the next command."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.text import Text

from encore_storage.cli.address import EventsAddress
from encore_storage.cli.lines import EventLines, is_quiet
from encore_storage.cli.output import let_go
from encore_storage.cli.status import CLOSED, INTERRUPTED
from encore_storage.subscribers.errors import MissingExtraError

if TYPE_CHECKING:  # it brings an extra
    from httpx_sse import ServerSentEvent

Query = Sequence[tuple[str, str]]


def run_tail(address: EventsAddress, query: Query, *, token: str | None, as_json: bool) -> int:
    """Show events until nobody reads them any more; the exit status. Ctrl-C ends the process.

    Raises:
        EventsAddressError: the address can't be used.
        RefusedError: what answers there gives no events.
        UnreachableError: nobody answers there.
        MissingExtraError: httpx isn't installed.
        OSError: standard output can't be written.
    """
    with ended_by_ctrl_c():
        try:
            from encore_storage.cli.following import Follower  # noqa: PLC0415 (an extra, and slow to load)
        except ModuleNotFoundError as error:
            raise MissingExtraError("encore tail", error.name or "httpx", "cli") from error
        tail = Tail(is_whole=any(name == "type" for name, _ in (*address.query, *query)), as_json=as_json)
        try:
            for message in Follower(address, query, token=token, say=tail.say):
                tail.show(message)
        except NobodyReadsError:
            return CLOSED
    raise AssertionError("a follower ends only with an error")


class NobodyReadsError(Exception):
    """Standard output is closed, or was never open."""


class Tail:
    """Writes events to standard output, and what else there is to say to standard error.

    Args:
        is_whole: whether to tell of beginnings and progress, too.
        as_json: whether to write each event as it came.
    """

    def __init__(self, *, is_whole: bool, as_json: bool) -> None:
        """Make it; nothing is written yet."""
        self._is_whole = is_whole
        self._as_json = as_json
        self._lines = EventLines()
        self._console = Console(highlight=False)
        self._notes = Console(stderr=True, highlight=False)
        self._has_complained = False

    def __repr__(self) -> str:
        """How it writes."""
        return f"<Tail of {'JSON' if self._as_json else 'lines'}>"

    def say(self, sentence: str) -> None:
        """Tell something that is no event."""
        with contextlib.suppress(OSError, AttributeError):  # nobody reads that
            sys.stderr.write(_rendered(self._notes, Text(f"-- {sentence}", "yellow")))
            sys.stderr.flush()

    def show(self, message: ServerSentEvent) -> None:
        """Show what has come.

        Raises:
            NobodyReadsError: there is nobody to show it to.
            OSError: it can't be written.
        """
        if message.event == "gap":
            self.say(_gap(message.data))
        if message.event != "message" or not message.data:
            _check_reader()
            return
        event = _event(message.data)
        if event is None:
            self._complain()
        elif self._as_json:
            _write(message.data.replace("\n", " ").encode() + b"\n")  # between tokens, if anywhere
        elif self._is_whole or not is_quiet(event["type"]):
            line = _rendered(self._console, self._lines.line(event))
            _write(line.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace"))

    def _complain(self) -> None:
        if not self._has_complained:
            self.say("something came that is no event, and is not shown; nor will the next be")
        self._has_complained = True


@contextlib.contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """A block in which Ctrl-C ends the process there and then, with the usual line and status.

    A KeyboardInterrupt is lost where a finalizer runs, and what waits for a full pipe would wait again while the
    interpreter flushes. There is nothing to undo here. Where Ctrl-C means something else, or nothing, that stays.
    """
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError, AttributeError, ValueError):  # as above
        os.write(sys.stderr.fileno(), b"encore: interrupted\n")
    os._exit(INTERRUPTED)


def _event(data: str) -> dict[str, Any] | None:
    """The CloudEvent, or None where it isn't one."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def _gap(data: str) -> str:
    """What is missing, in words."""
    try:
        told = json.loads(data)
        missed, reason = told["missed"], told["reason"]
    except (ValueError, RecursionError, LookupError, TypeError):
        missed = reason = None
    if reason == "restart":
        return "the program was restarted"
    if not isinstance(missed, int):
        return "events before these were missed"
    return f"{missed:,} event{' was' if missed == 1 else 's were'} missed"


def _rendered(console: Console, text: Text) -> str:
    with console.capture() as capture:
        console.print(text, soft_wrap=True)
    return capture.get()


def _write(line: bytes) -> None:
    if sys.stdout is None:
        raise NobodyReadsError
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        let_go(sys.stdout)
        raise NobodyReadsError from error
    except OSError:
        let_go(sys.stdout)
        raise


def _check_reader() -> None:
    """Notice that the next command has ended, though there is nothing to write to it."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, AttributeError):  # no file of the system's
        return
    if any(happened & select.POLLERR for _, happened in poll.poll(0)):
        raise NobodyReadsError
