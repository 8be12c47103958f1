"""`encore tail` with a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from encore_events import BaseEvent, EventManager
from encore_storage import DictMemoryStore, KeyNotFoundError
from encore_storage.cli.address import EventsAddress
from encore_storage.processes.receiver import Receiver
from encore_storage.server import EventFeed, create_app, sse
from tests.cli.scripted import running
from tests.cli.support import TIMEOUT, command, finish, start
from tests.cli.test_terminal import Terminal
from tests.processes.link_support import children
from tests.server.support import serving, until

TOKEN = "a token that nobody guesses"


@pytest.fixture
def first() -> Iterator[ExitStack]:
    """The first server of a test, which the test may close early."""
    with ExitStack() as first:
        yield first


class WatchedApp:
    """An application that sets `is_read` once a client has received data."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state = app.state
        self.is_read = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def watched(message: Any) -> None:
            await send(message)
            if message.get("body"):
                self.is_read.set()

        await self._app(scope, receive, watched)


class Tail:
    """The running command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out, self.err = process.stdout, process.stderr

    def events(self, count: int) -> list[Any]:
        return [json.loads(self.out.readline()) for _ in range(count)]

    def keys(self, count: int) -> list[str]:
        return [event["data"]["key"] for event in self.events(count)]


@contextmanager
def tailing(url: str, *options: object, since: str = "0", **more: Any) -> Iterator[Tail]:
    """Run the command for a block, from the first event on."""
    with running(start("tail", url, "--since", since, *options, **{"interrupted": True, **more})) as process:
        yield Tail(process)


def test_events_of_several_processes_are_shown_with_their_process(tmp_path: Path) -> None:
    path, feed = tmp_path / "events.sock", EventFeed()
    receiver = Receiver(path, feed)
    receiver.start()
    with serving(create_app(feed=feed)) as server, children(path, 3) as members:
        pids = [child.pid for child in members]
        chosen = ("--process", pids[0], "--process", pids[1])
        with tailing(server.address, *chosen) as tail:
            for child in (*members, *members):
                child.run("store.from_bytes('a', b'1')")
                child.run("time.sleep(0.1)")  # longer than a batch
            lines = [tail.out.readline() for _ in range(8)]
    receiver.close()

    assert [line.split()[1] for line in lines[2:]] == [
        str(pid) for pid in (pids[1], pids[1], pids[0], pids[0], *pids[1:2] * 2)
    ]


def test_address_of_a_page_selects_a_process() -> None:
    address = EventsAddress.parse("http://localhost:9464/#process=7&store=a")

    assert address.query == (("process", "7"), ("store", "a"))


def words(line: str) -> list[str]:
    """Return the words of the line without its duration."""
    found = line.split()
    unit = next((place for place, word in enumerate(found) if word in {"µs", "ms"}), None)
    return found if unit is None else found[: unit - 1] + found[unit + 1 :]


def test_ended_and_changed_events_are_one_line_each(page: str, store: DictMemoryStore) -> None:
    with tailing(page) as tail:
        with store.transaction("import"):
            store.from_bytes("reports/q3", b"hello world")
        with pytest.raises(OSError, match="full"), store.transaction("import"):
            raise OSError("disk full")
        with pytest.raises(KeyNotFoundError):
            store.get("missing")
        lines = [words(tail.out.readline()) for _ in range(5)]

    assert [" ".join(line[1:]) for line in lines] == [
        "archive set reports/q3 11 B ok",
        "archive commit import 1 op committed",
        "archive key set reports/q3",
        "archive rollback import 0 ops rolled_back OSError: disk full",
        "archive get_metadata missing miss KeyNotFoundError: no value under key 'missing' in store 'archive'",
    ]


def test_type_option_shows_started_events(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--type", "*") as tail:
        store.from_bytes("a", b"hello")
        started, ended, changed = (words(tail.out.readline())[2:] for _ in range(3))

    assert started == ["set", "a", "started"]
    assert ended == ["set", "a", "5", "B", "ok"]
    assert changed == ["key", "set", "a"]


def test_json_has_no_terminal_codes(page: str, store: DictMemoryStore) -> None:
    key = "a\x9b2J\x7f\u2028\x1b]0;owned\x07ä"
    with tailing(page, "--json", "--type", "*.set") as tail:
        store.from_bytes(key, b"1")
        line = tail.out.readline()

    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["data"]["key"] == key


def test_json_prints_events_as_received(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--json") as tail:
        store.from_bytes("é\n\x1b", b"hello")
        started, ended, changed = tail.events(3)

    assert started["type"] == "encore.storage.operation.started"
    assert ended["specversion"] == "1.0"
    assert ended["data"]["bytes"] == 5
    assert changed["data"]["key"] == "é\n\x1b"


def test_options_filter_events(page: str, store: DictMemoryStore, manager: EventManager) -> None:
    options = ["--json", "--type", "*.ended", "--store", "archive", "--operation", "get", "--outcome", "ok"]
    other = DictMemoryStore(name="other", event_manager=manager)
    with tailing(page, *options) as tail:
        for one in (other, store):
            one.from_bytes("a", b"1")
            one.to_bytes("a")
            with pytest.raises(KeyNotFoundError):
                one.to_bytes("missing")
            one.to_bytes("a")
        first, second = tail.events(2)

    assert {first["data"]["store"], second["data"]["store"]} == {"archive"}
    assert {first["data"]["operation"], second["data"]["operation"]} == {"get"}


@pytest.mark.parametrize("ending", ["events", "metrics", ""])
def test_any_address_of_the_program_is_accepted(page: str, store: DictMemoryStore, ending: str) -> None:
    with tailing(page.removeprefix("http://") + ending, "--json") as tail:
        store.from_bytes("a", b"1")

        assert tail.keys(1) == ["a"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--type", "a b"], "invalid type 'a b': use letters, "),
        (["--operation", "fetch"], "unknown operation 'fetch': use one of get, "),
        (["--outcome", "good"], "unknown outcome 'good': use one of ok, "),
        (["--since", "yesterday"], "invalid since 'yesterday': use the id of a message"),
    ],
)
def test_invalid_filters_are_reported(page: str, options: list[str], sentence: str) -> None:
    result = command("tail", page, *options)

    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"encore: {page.rstrip('/')} answers 400: {sentence}")
    assert result.err.endswith("; see encore tail --help\n")


def test_token_is_read_from_the_option_or_the_environment(manager: EventManager, store: DictMemoryStore) -> None:
    with serving(create_app(manager, token=TOKEN)) as server:
        refused = command("tail", server.address)
        store.from_bytes("a", b"1")
        with tailing(server.address, "--json", "--token", TOKEN) as tail:
            assert tail.keys(1) == ["a"]
        with tailing(server.address, "--json", env={"ENCORE_TOKEN": TOKEN}) as tail:
            assert tail.keys(1) == ["a"]

    assert (refused.status, refused.out) == (2, "")
    assert "answers 401: " in refused.err
    assert refused.err.endswith("; a token is required: pass it with --token or ENCORE_TOKEN\n")


def test_reconnect_resumes_after_the_last_event(feed: EventFeed, store: DictMemoryStore, first: ExitStack) -> None:
    server = first.enter_context(serving(create_app(feed=feed)))
    with tailing(server.address, "--json", "--type", "*.set") as tail:
        store.from_bytes("before", b"1")
        assert tail.keys(1) == ["before"]
        first.close()
        assert tail.err.readline().startswith("-- connection lost: ")
        store.from_bytes("meanwhile", b"2")
        with serving(create_app(feed=feed), port=server.port):
            store.from_bytes("after", b"3")
            assert tail.keys(2) == ["meanwhile", "after"]
            assert tail.err.readline() == "-- reconnected\n"


def test_reconnect_before_the_first_event_misses_nothing(
    feed: EventFeed, store: DictMemoryStore, first: ExitStack
) -> None:
    app = WatchedApp(create_app(feed=feed))
    server = first.enter_context(serving(app))
    with running(start("tail", server.address, "--json", "--type", "*.set")) as process:
        tail = Tail(process)
        assert app.is_read.wait(TIMEOUT)
        first.close()
        assert tail.err.readline().startswith("-- connection lost: ")
        store.from_bytes("meanwhile", b"2")
        with serving(create_app(feed=feed), port=server.port):
            assert tail.keys(1) == ["meanwhile"]


def test_restart_of_the_program_is_reported(
    manager: EventManager, feed: EventFeed, store: DictMemoryStore, first: ExitStack
) -> None:
    server = first.enter_context(serving(create_app(feed=feed)))
    with tailing(server.address, "--json", "--type", "*.set") as tail:
        store.from_bytes("before", b"1")
        assert tail.keys(1) == ["before"]
        first.close()
        assert tail.err.readline().startswith("-- connection lost: ")
        with EventFeed().connect(manager) as other, serving(create_app(feed=other), port=server.port):
            store.from_bytes("after", b"3")
            assert tail.keys(1) == ["after"]
            assert tail.err.readline() == "-- reconnected\n"
            assert tail.err.readline() == "-- the program was restarted\n"


def test_evicted_events_are_reported_as_missed(manager: EventManager, first: ExitStack) -> None:
    with EventFeed(capacity=10).connect(manager) as feed:
        server = first.enter_context(serving(create_app(feed=feed)))
        with tailing(server.address, "--json") as tail:
            manager.emit(BaseEvent(number=0))
            assert [event["data"]["number"] for event in tail.events(1)] == [0]
            first.close()
            assert tail.err.readline().startswith("-- connection lost: ")
            for number in range(1, 1245):
                manager.emit(BaseEvent(number=number))
            until(lambda: feed.ring.last == 1245)
            with serving(create_app(feed=feed), port=server.port):
                numbers = [event["data"]["number"] for event in tail.events(10)]
                assert tail.err.readline() == "-- reconnected\n"
                assert tail.err.readline() == "-- 1,234 events were missed\n"

    assert numbers == list(range(1235, 1245))


def test_unknown_type_is_shown_with_its_data(page: str, manager: EventManager) -> None:
    with tailing(page) as tail:
        manager.emit(BaseEvent(word="hello"))
        result = tail.out.readline().split(maxsplit=2)

    assert result[1] == "python.encore_events.events.BaseEvent"
    assert json.loads(result[2]) == {"word": "hello"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_hostile_keys_stay_on_one_line(page: str, store: DictMemoryStore, encoding: str) -> None:
    keys = [
        "a\nb\r\x1b[2J\x07",
        "\u202etxt.exe",
        "\ud800",
        "日本語",
        "[red]x[/red]",
        "\u2028\x0b\x85",
        "",
        "k" * 5000,
        "\x00",
        "\\",
    ]
    options = ["--type", "*.set"]
    with (
        tailing(page, *options, env={"PYTHONIOENCODING": encoding}, encoding=encoding) as tail,
        tailing(page, *options, "--json", encoding="utf-8") as as_json,
    ):
        for key in keys:
            store.from_bytes(key, b"1")
        lines = [tail.out.readline() for _ in keys]
        result = as_json.keys(len(keys))

    assert result == keys
    assert all(line.endswith("\n") and line[:-1].isprintable() for line in lines)
    assert all("key set" in line for line in lines)
    assert r"a\nb\r\x1b[2J\x07" in lines[0]
    assert "[red]x[/red]" in lines[4]


HEAD = ("bash", "-c", '"$0" "$@" | head -1; echo ${PIPESTATUS[0]}')
"""Runs the command, reads one line and prints the exit status."""


def test_reader_that_stops_early_ends_the_tail(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--json", launcher=HEAD, interrupted=False) as tail:
        store.from_bytes("a", b"1")
        assert "operation.started" in tail.out.readline()
        store.from_bytes("b", b"1")
        out, err = tail.process.communicate(timeout=TIMEOUT)

    assert (out, err) == ("141\n", "")


def test_closed_pipe_is_detected_without_events(
    page: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.0)
    with tailing(page, "--type", "*.set", launcher=HEAD, interrupted=False) as tail:
        store.from_bytes("a", b"1")
        assert "key set" in tail.out.readline()
        out, err = tail.process.communicate(timeout=TIMEOUT)

    assert (out, err) == ("141\n", "")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_closed_standard_output_ends_the_tail(page: str, store: DictMemoryStore, options: tuple[str, ...]) -> None:
    store.from_bytes("a", b"1")
    result = finish(start("tail", page, "--since", "0", *options, launcher=("sh", "-c", 'exec "$@" >&-', "sh")))

    assert result == (141, "", "")


def test_full_output_device_is_reported(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = finish(start("tail", page, "--since", "0", "--json", stdout=full))

    assert (result.status, result.err) == (1, "encore: [Errno 28] No space left on device\n")


def test_terminal_shows_colours_and_ctrl_c_is_clean(page: str, store: DictMemoryStore) -> None:
    terminal = Terminal()
    process = terminal.start("tail", page, "--since", "0")
    store.from_bytes("a", b"1")
    terminal.read_until("\x1b[32mok\x1b[0m")
    process.send_signal(signal.SIGINT)
    terminal.read_to_end()
    terminal.close()

    assert process.wait(TIMEOUT) == 130
    assert terminal.seen.endswith("encore: interrupted\r\n")
    assert "Traceback" not in terminal.seen


def test_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ModuleNotFoundError(name='httpx')")

    result = command("tail", "localhost", env={"PYTHONPATH": str(tmp_path)})

    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(
        "encore: encore tail needs the package 'httpx', which is not installed: run pip install "
    )


def test_help_does_not_import_httpx(tmp_path: Path) -> None:
    for name in ("httpx", "httpx_sse"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")

    result = command("tail", "--help", env={"PYTHONPATH": str(tmp_path)})

    assert (result.status, result.err) == (0, "")
    assert "Usage: encore tail" in result.out


def test_closed_standard_error_does_not_stop_the_tail(page: str, store: DictMemoryStore) -> None:
    quiet = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    with tailing(page, "--since", "00000000-1", "--json", launcher=quiet) as tail:
        store.from_bytes("a", b"1")

        assert tail.keys(1) == ["a"]
