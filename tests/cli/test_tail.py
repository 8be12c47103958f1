"""`encore tail` beside a program whose stores are served: what it shows, and what it asks for again."""

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
from encore_storage.server import EventFeed, create_app, sse
from tests.cli.scripted import reading
from tests.cli.support import LONG, command, done, start
from tests.cli.test_terminal import Terminal
from tests.server.support import serving, until

TOKEN = "a token that nobody guesses"


@pytest.fixture
def first() -> Iterator[ExitStack]:
    """What is there at first; a test may end it sooner."""
    with ExitStack() as first:
        yield first


class Watched:
    """An application that tells when somebody has begun to read."""

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
    """The command, reading; the test reads what it writes."""

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
    """The command for a block, from the first event on."""
    with reading(start("tail", url, "--since", since, *options, **{"interrupted": True, **more})) as process:
        yield Tail(process)


def words(line: str) -> list[str]:
    """The line's words, without its duration."""
    found = line.split()
    unit = next((place for place, word in enumerate(found) if word in {"µs", "ms"}), None)
    return found if unit is None else found[: unit - 1] + found[unit + 1 :]


def test_a_line_for_each_that_ended_or_changed(page: str, store: DictMemoryStore) -> None:
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
        "archive commit import committed 1 operation",
        "archive key set reports/q3",
        "archive rollback import rolled_back 0 operations OSError: disk full",
        "archive get missing 0 B miss KeyNotFoundError: no value under key 'missing' in store 'archive'",
    ]


def test_beginnings_are_told_to_who_asks_for_them(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--type", "*") as tail:
        store.from_bytes("a", b"hello")
        started, ended, changed = (words(tail.out.readline())[2:] for _ in range(3))

    assert started == ["set", "a", "started"]
    assert ended == ["set", "a", "5", "B", "ok"]
    assert changed == ["key", "set", "a"]


def test_json_is_each_event_as_it_came(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--json") as tail:
        store.from_bytes("é\n\x1b", b"hello")
        started, ended, changed = tail.events(3)

    assert started["type"] == "encore.storage.operation.started"
    assert ended["specversion"] == "1.0"
    assert ended["data"]["bytes"] == 5
    assert changed["data"]["key"] == "é\n\x1b"


def test_only_what_is_asked_for_is_told(page: str, store: DictMemoryStore, manager: EventManager) -> None:
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
def test_any_address_of_the_program_will_do(page: str, store: DictMemoryStore, ending: str) -> None:
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
def test_what_cannot_be_asked_for_is_told(page: str, options: list[str], sentence: str) -> None:
    told = command("tail", page, *options)

    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith(f"encore: {page.rstrip('/')} answers 400: {sentence}")
    assert told.err.endswith("; see encore tail --help\n")


def test_a_token_is_given_as_an_option_or_by_the_environment(manager: EventManager, store: DictMemoryStore) -> None:
    with serving(create_app(manager, token=TOKEN)) as server:
        refused = command("tail", server.address)
        store.from_bytes("a", b"1")
        with tailing(server.address, "--json", "--token", TOKEN) as tail:
            assert tail.keys(1) == ["a"]
        with tailing(server.address, "--json", env={"ENCORE_TOKEN": TOKEN}) as tail:
            assert tail.keys(1) == ["a"]

    assert (refused.status, refused.out) == (2, "")
    assert "answers 401: " in refused.err
    assert refused.err.endswith("; no token was given: give it with --token, or as ENCORE_TOKEN\n")


def test_a_server_that_comes_back_has_lost_nothing(feed: EventFeed, store: DictMemoryStore, first: ExitStack) -> None:
    server = first.enter_context(serving(create_app(feed=feed)))
    with tailing(server.address, "--json", "--type", "*.set") as tail:
        store.from_bytes("before", b"1")
        assert tail.keys(1) == ["before"]
        first.close()
        assert tail.err.readline().startswith("-- the connection is lost: ")
        store.from_bytes("meanwhile", b"2")
        with serving(create_app(feed=feed), port=server.port):
            store.from_bytes("after", b"3")
            assert tail.keys(2) == ["meanwhile", "after"]
            assert tail.err.readline() == "-- the connection is back\n"


def test_one_that_comes_back_before_anything_has_happened_has_lost_nothing(
    feed: EventFeed, store: DictMemoryStore, first: ExitStack
) -> None:
    app = Watched(create_app(feed=feed))
    server = first.enter_context(serving(app))
    with reading(start("tail", server.address, "--json", "--type", "*.set")) as process:
        tail = Tail(process)
        assert app.is_read.wait(LONG)
        first.close()
        assert tail.err.readline().startswith("-- the connection is lost: ")
        store.from_bytes("meanwhile", b"2")
        with serving(create_app(feed=feed), port=server.port):
            assert tail.keys(1) == ["meanwhile"]


def test_another_run_of_the_program_is_told(
    manager: EventManager, feed: EventFeed, store: DictMemoryStore, first: ExitStack
) -> None:
    server = first.enter_context(serving(create_app(feed=feed)))
    with tailing(server.address, "--json", "--type", "*.set") as tail:
        store.from_bytes("before", b"1")
        assert tail.keys(1) == ["before"]
        first.close()
        assert tail.err.readline().startswith("-- the connection is lost: ")
        with EventFeed().connect(manager) as other, serving(create_app(feed=other), port=server.port):
            store.from_bytes("after", b"3")
            assert tail.keys(1) == ["after"]
            assert tail.err.readline() == "-- the connection is back\n"
            assert tail.err.readline() == "-- the program was restarted\n"


def test_what_the_program_holds_no_more_is_told(manager: EventManager, first: ExitStack) -> None:
    with EventFeed(capacity=10).connect(manager) as feed:
        server = first.enter_context(serving(create_app(feed=feed)))
        with tailing(server.address, "--json") as tail:
            manager.emit(BaseEvent(number=0))
            assert [event["data"]["number"] for event in tail.events(1)] == [0]
            first.close()
            assert tail.err.readline().startswith("-- the connection is lost: ")
            for number in range(1, 1245):
                manager.emit(BaseEvent(number=number))
            until(lambda: feed.ring.last == 1245)
            with serving(create_app(feed=feed), port=server.port):
                numbers = [event["data"]["number"] for event in tail.events(10)]
                assert tail.err.readline() == "-- the connection is back\n"
                assert tail.err.readline() == "-- 1,234 events were missed\n"

    assert numbers == list(range(1235, 1245))


def test_a_type_that_nobody_knows_is_told_with_its_data(page: str, manager: EventManager) -> None:
    with tailing(page) as tail:
        manager.emit(BaseEvent(word="hello"))
        told = tail.out.readline().split(maxsplit=2)

    assert told[1] == "python.encore_events.events.BaseEvent"
    assert json.loads(told[2]) == {"word": "hello"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_hostile_keys_stay_on_their_line(page: str, store: DictMemoryStore, encoding: str) -> None:
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
        told = as_json.keys(len(keys))

    assert told == keys
    assert all(line.endswith("\n") and line[:-1].isprintable() for line in lines)
    assert all("key set" in line for line in lines)
    assert r"a\nb\r\x1b[2J\x07" in lines[0]
    assert "[red]x[/red]" in lines[4]


HEAD = ("bash", "-c", '"$0" "$@" | head -1; echo ${PIPESTATUS[0]}')
"""Runs the command for someone who reads one line."""


def test_nobody_has_to_read_to_the_end(page: str, store: DictMemoryStore) -> None:
    with tailing(page, "--json", launcher=HEAD, interrupted=False) as tail:
        store.from_bytes("a", b"1")
        assert "operation.started" in tail.out.readline()
        store.from_bytes("b", b"1")
        out, err = tail.process.communicate(timeout=LONG)

    assert (out, err) == ("141\n", "")


def test_that_nobody_reads_is_noticed_though_nothing_happens(
    page: str, store: DictMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.0)
    with tailing(page, "--type", "*.set", launcher=HEAD, interrupted=False) as tail:
        store.from_bytes("a", b"1")
        assert "key set" in tail.out.readline()
        out, err = tail.process.communicate(timeout=LONG)

    assert (out, err) == ("141\n", "")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_standard_output_may_be_closed(page: str, store: DictMemoryStore, options: tuple[str, ...]) -> None:
    store.from_bytes("a", b"1")
    told = done(start("tail", page, "--since", "0", *options, launcher=("sh", "-c", 'exec "$@" >&-', "sh")))

    assert told == (141, "", "")


def test_a_file_that_can_not_be_written_is_told(page: str, store: DictMemoryStore) -> None:
    store.from_bytes("a", b"1")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        told = done(start("tail", page, "--since", "0", "--json", stdout=full))

    assert (told.status, told.err) == (1, "encore: [Errno 28] No space left on device\n")


def test_on_a_terminal_there_are_colours_and_ctrl_c_is_clean(page: str, store: DictMemoryStore) -> None:
    terminal = Terminal()
    process = terminal.start("tail", page, "--since", "0")
    store.from_bytes("a", b"1")
    terminal.look_for("\x1b[32mok\x1b[0m")
    process.send_signal(signal.SIGINT)
    terminal.look_to_the_end()
    terminal.close()

    assert process.wait(LONG) == 130
    assert terminal.seen.endswith("encore: interrupted\r\n")
    assert "Traceback" not in terminal.seen


def test_a_missing_part_is_told_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ModuleNotFoundError(name='httpx')")

    told = command("tail", "localhost", env={"PYTHONPATH": str(tmp_path)})

    assert (told.status, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith("encore: encore tail needs the package 'httpx', which is not installed: pip install ")


def test_other_commands_do_not_wait_for_what_this_one_needs(tmp_path: Path) -> None:
    for name in ("httpx", "httpx_sse"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")

    told = command("tail", "--help", env={"PYTHONPATH": str(tmp_path)})

    assert (told.status, told.err) == (0, "")
    assert "Usage: encore tail" in told.out


def test_nobody_has_to_read_what_else_there_is_to_say(page: str, store: DictMemoryStore) -> None:
    quiet = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    with tailing(page, "--since", "00000000-1", "--json", launcher=quiet) as tail:
        store.from_bytes("a", b"1")

        assert tail.keys(1) == ["a"]
