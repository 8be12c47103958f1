"""Odd values in events: names, ids, numbers and errors of any kind, in all that is made of events."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from encore_events import EventManager, EventsDroppedEvent, ListenerErrorEvent
from encore_events.testing import EventRecorder
from encore_storage.cli.lines import EventLines
from encore_storage.cli.report import PlainProgress, summary_table
from encore_storage.codec import dumps
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from encore_storage.recording import Recorder, replay
from encore_storage.run.counting import RunSummary
from encore_storage.run.document import document, write_document
from encore_storage.run.report import read_report
from encore_storage.run.text import render
from encore_storage.server import EventFeed
from encore_storage.server.history import START
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars
from encore_storage.subscribers.logs import Format, open_logger
from encore_storage.subscribers.summary import SummarySubscriber
from tests.subscribers.support import Incomparable, samples

OWNED = "\x1b]0;owned\x07"
FORGED = "x\nforged line\r\x85forged\u2028forged"


class Silent:
    """An object without a text and without a hash."""

    __hash__ = None  # type: ignore[assignment]  # there is none

    def __str__(self) -> str:
        raise ValueError(OWNED)

    __repr__ = __str__


TEXTS = st.sampled_from(
    ["\ud800", OWNED, FORGED, "\x9b2Jx", "[red]a[/red] [/] :bug:", "x" * 3000, "", "\u202eabc", "\x00", 'q"\\', "store"]
) | st.text(max_size=5)
NUMBERS = st.sampled_from([0, 1, -1, 10**400, -(10**400), 10**5000, 2**63, 1e308, math.inf, -math.inf, math.nan, True])
IDS: st.SearchStrategy[Any] = (
    TEXTS
    | NUMBERS
    | st.sampled_from([None, (1, "\n"), b"\xff", frozenset([1])])
    | st.builds(Silent)
    | st.builds(Incomparable)
    | st.builds(list)
)
ERRORS = TEXTS.map(lambda text: OSError(5, text, text)) | TEXTS.map(ValueError) | st.none()

IDENTITY: Mapping[str, st.SearchStrategy[Any]] = {
    "operation_id": IDS,
    "store": IDS,
    "operation": IDS | st.sampled_from(["get", "set"]),
    "direction": st.sampled_from(["read", "write", None]) | TEXTS,
    "key": IDS,
    "message": IDS,
    "steps": NUMBERS,
    "timestamp": NUMBERS,
    "transaction_id": IDS,
}
END: Mapping[str, st.SearchStrategy[Any]] = {
    "outcome": st.sampled_from(["ok", "error", "miss"]) | TEXTS,
    "exit_state": TEXTS,
    **dict.fromkeys(("bytes", "delta", "duration", "items", "attempts", "first_byte", "fetched"), NUMBERS),
    "error": ERRORS,
    "error_type": TEXTS,
}
TRANSACTION: Mapping[str, st.SearchStrategy[Any]] = {"store": IDS, "transaction_id": IDS, "notes": IDS}
TRANSACTION_END: Mapping[str, st.SearchStrategy[Any]] = {
    "outcome": st.sampled_from(["committed", "rolled_back"]) | TEXTS,
    "state": TEXTS,
    **dict.fromkeys(("duration", "operations", "held"), NUMBERS),
    "error": ERRORS,
}


@st.composite
def stories(draw: st.DrawFn) -> list[Any]:
    """Return the events of an operation, a transaction, a key change and a queue, with odd values."""
    operation, transaction = draw(st.fixed_dictionaries(IDENTITY)), draw(st.fixed_dictionaries(TRANSACTION))
    moved = draw(st.fixed_dictionaries({"step": NUMBERS, "delta": NUMBERS}))
    return [
        StoreProgressStartEvent(**operation),
        StoreTransactionStartEvent(**transaction, timestamp=draw(NUMBERS)),
        StoreProgressStepEvent(**operation, **moved),
        StoreProgressEndEvent(**{**operation, **draw(st.fixed_dictionaries(END))}),
        StoreTransactionEndEvent(**transaction, **draw(st.fixed_dictionaries(TRANSACTION_END))),
        StoreSetEvent(store=draw(IDS), key=draw(IDS), transaction_id=draw(IDS)),
        EventsDroppedEvent(queue=draw(IDS), reason=draw(IDS), count=draw(NUMBERS)),
    ]


class Outputs:
    """All that is made of the events of an event manager while `connected`."""

    def __init__(self, directory: Path) -> None:
        self.manager = EventManager()
        self.recorder = EventRecorder(self.manager, ListenerErrorEvent)
        self.registry = CollectorRegistry()
        self.feed = EventFeed()
        self.summary = SummarySubscriber()
        self.run = directory / "run"
        self.run.mkdir()
        self.logs: dict[Format, io.StringIO] = {"console": io.StringIO(), "json": io.StringIO()}
        self.screen, self.lines = io.StringIO(), io.StringIO()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect everything for the length of a block."""
        with ExitStack() as stack:
            for format_, log in self.logs.items():
                logger = stack.enter_context(open_logger(log, format=format_, level="debug"))
                stack.enter_context(LogSubscriber(logger=logger, level="debug").connect(self.manager))
            bars = ProgressBars(console=Console(file=self.screen, force_terminal=True, width=80), delay=0)
            lines = Console(file=self.lines, width=80)
            for subscriber in (
                MetricsSubscriber(registry=self.registry),
                RunSummary(self.run),
                self.summary,
                self.feed,
            ):
                stack.enter_context(subscriber.connect(self.manager))
            stack.enter_context(bars.connect(self.manager))
            stack.enter_context(PlainProgress(lines, interval=-1).connect(self.manager))
            yield

    def check(self) -> None:
        """Check that everything has been made, and that no event controls a terminal or forges a line."""
        assert [repr(one.error) for one in self.recorder.events if isinstance(one, ListenerErrorEvent)] == []
        assert list(text_string_to_metric_families(generate_latest(self.registry).decode()))
        assert openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]  # it has no hints
        for gauge in ("operations_in_progress", "transactions_in_progress"):
            assert not any(samples(self.registry, gauge).values())
        view = self.feed.view()
        dumps([view.current((), 10), view.columns(math.inf, (), START)])
        assert view.current((), 10)["in_flight_total"] == 0
        report, path = read_report(self.run), self.run / "report.json"
        write_document(path, document(report))
        table = Console(file=self.lines, width=80)
        table.print(summary_table(self.summary))
        for output in (*self.logs.values(), self.lines):
            check_text(output.getvalue())
        check_text(render(report))
        check_text(path.read_text())
        assert OWNED not in self.screen.getvalue()
        for line in self.logs["json"].getvalue().splitlines():
            json.loads(line)


def check_text(text: str) -> None:
    """Check that the text has no control characters, and no line that an event has made."""
    assert [one for one in text if not one.isprintable() and one != "\n"] == []
    assert not any(line.startswith("forged") for line in text.splitlines())


@pytest.fixture(autouse=True)
def no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the reports of failures, which other tests look at."""
    monkeypatch.setattr(logging.getLogger("encore_events"), "disabled", True)


@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(stories(), min_size=1, max_size=3))
def test_odd_values_harm_no_output_and_no_replay(drawn: list[list[Any]]) -> None:
    with TemporaryDirectory() as path:
        directory = Path(path)
        (directory / "again").mkdir()
        first, again = Outputs(directory), Outputs(directory / "again")
        with Recorder(directory / "events.jsonl").connect(first.manager), first.connected():
            for event in (event for story in drawn for event in story):
                first.manager.emit(event)
        first.check()
        lines = EventLines()
        for line in (directory / "events.jsonl").read_bytes().splitlines():
            check_text(lines.line(json.loads(line)).plain)
        with again.connected():
            replay(directory / "events.jsonl", again.manager, math.inf)
