"""Progress bars of long operations, and the remains of failed ones."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from encore_events import EventManager, ProgressManager
from encore_storage.events import StoreProgressEvent
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import ProgressBars, in_progress
from encore_storage.subscribers.errors import MissingExtraError
from tests.subscribers.support import FakeClock, end, start, step

MIB = 2**20
TERMINAL = {"TERM": "xterm-256color"}


@pytest.fixture
def console() -> Console:
    """A terminal that records what is drawn."""
    return Console(file=io.StringIO(), force_terminal=True, width=120, _environ=TERMINAL)


@pytest.fixture
def bars(manager: EventManager, console: Console, clock: FakeClock) -> Iterator[ProgressBars]:
    with ProgressBars(console=console, clock=clock).connect(manager) as bars:
        yield bars


def rendered(bars: ProgressBars) -> list[str]:
    """Return the lines of the current bars."""
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as captured:
        console.print(bars.render())
    return [" ".join(line.split()) for line in captured.get().splitlines() if line.strip()]


def written(console: Console) -> str:
    """Return everything that was sent to the terminal."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_short_operation_has_no_bar(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    manager.emit(start())
    clock.advance(0.49)
    manager.emit(step())

    assert rendered(bars) == []


def test_bar_shows_bytes_speed_and_time_left(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    manager.emit(start(steps=10 * MIB))
    for seconds in range(1, 4):
        clock.advance(1)
        manager.emit(step(steps=10 * MIB, step=seconds * MIB))

    (line,) = rendered(bars)
    assert line.startswith("get 'a' ━")
    assert line.endswith("3.1/10.5 MB 1.0 MB/s 0:00:07")


def test_delay_is_configurable(manager: EventManager, console: Console, clock: FakeClock) -> None:
    with ProgressBars(console=console, clock=clock, delay=0).connect(manager) as bars:
        manager.emit(start())

        assert len(rendered(bars)) == 1


def test_operation_without_steps_has_a_bar(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    manager.emit(start())
    clock.advance(0.5)

    assert len(rendered(bars)) == 1
    assert len(rendered(bars)) == 1


def test_operation_without_direction_has_no_bar(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    manager.emit(start(operation="query", direction=None))
    clock.advance(60)

    assert rendered(bars) == []


def test_unknown_size_is_a_question_mark_until_known(
    manager: EventManager, bars: ProgressBars, clock: FakeClock
) -> None:
    manager.emit(start())
    clock.advance(1)
    assert "0/? bytes" in rendered(bars)[0]

    manager.emit(step(step=10, steps=40))
    assert "10/40 bytes" in rendered(bars)[0]


def test_many_bars_are_drawn_at_once(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    for number in range(3):
        manager.emit(start(operation_id=str(number), message=f"get {number}"))
    clock.advance(1)

    assert [line[:5] for line in rendered(bars)] == ["get 0", "get 1", "get 2"]


@pytest.mark.parametrize("outcome", ["ok", "miss", "cancelled"])
def test_bar_disappears_at_the_end(
    manager: EventManager, bars: ProgressBars, clock: FakeClock, console: Console, outcome: str
) -> None:
    manager.emit(start())
    clock.advance(1)
    manager.emit(step())

    manager.emit(end(outcome=outcome))

    assert rendered(bars) == []
    assert "\x1b[31m" not in written(console)


def test_bar_of_failed_operation_stays_in_red_with_its_error(
    manager: EventManager, bars: ProgressBars, clock: FakeClock, console: Console
) -> None:
    manager.emit(start(steps=40))
    clock.advance(1)
    manager.emit(step(steps=40))

    manager.emit(end(steps=40, bytes=20, outcome="error", error=OSError("disk [red]full")))
    bars.disconnect()

    assert "\x1b[31mget 'a': disk [red]full\x1b[0m \x1b[31m━━" in written(console)
    assert "20/40 bytes" in written(console)


@pytest.mark.parametrize(
    ("error", "text"),
    [(None, "failed"), (OSError(), "OSError"), (OSError("disk\nfull\x1b[2J"), r"disk\nfull\x1b[2J")],
    ids=["none", "without a message", "control characters in the message"],
)
def test_failure_is_one_line(
    manager: EventManager,
    bars: ProgressBars,
    clock: FakeClock,
    console: Console,
    error: OSError | None,
    text: str,
) -> None:
    manager.emit(start())
    clock.advance(1)
    manager.emit(step())

    manager.emit(end(outcome="error", error=error))

    assert f"get 'a': {text}\x1b[0m" in written(console)


def test_short_operation_that_fails_draws_nothing(manager: EventManager, bars: ProgressBars, console: Console) -> None:
    manager.emit(start())
    manager.emit(end(outcome="error", error=OSError("disk full")))

    assert "disk full" not in written(console)


def test_step_and_end_without_start_draw_nothing(manager: EventManager, bars: ProgressBars) -> None:
    manager.emit(step())
    manager.emit(end(outcome="error"))

    assert rendered(bars) == []


def test_start_with_a_known_id_replaces_the_bar(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    for message in ("get 'a'", "get 'b'"):
        manager.emit(start(message=message))
        clock.advance(1)
        (line,) = rendered(bars)
        assert line.startswith(message)

    manager.emit(end())
    assert rendered(bars) == []


def test_oldest_bars_are_evicted_beyond_the_limit(
    manager: EventManager, bars: ProgressBars, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_progress, "MOST", 2)
    for number in range(4):
        manager.emit(start(operation_id=str(number), message=f"get {number}"))
        clock.advance(1)
        rendered(bars)

    assert [line[:5] for line in rendered(bars)] == ["get 2", "get 3"]


def test_bars_ignore_a_veto_by_another_listener(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    manager.connect(StoreProgressEvent, StoreProgressEvent.mark_as_handled, priority=1_000_000)
    manager.emit(start())
    clock.advance(1)

    assert len(rendered(bars)) == 1


def test_disconnect_restores_the_terminal(
    manager: EventManager, bars: ProgressBars, clock: FakeClock, console: Console
) -> None:
    manager.emit(start())
    clock.advance(1)
    manager.emit(step())
    assert len(rendered(bars)) == 1

    bars.disconnect()

    assert "\x1b[?25l" not in written(console)  # the cursor is never hidden
    assert "show_cursor" not in vars(console)
    assert rendered(bars) == []
    assert repr(manager) == "<EventManager: 0 listeners>"


def test_bars_leave_standard_output_to_the_program(manager: EventManager, bars: ProgressBars, console: Console) -> None:
    before = written(console)

    print("result,1,2,3")  # noqa: T201 (as the program does)

    assert written(console) == before
    assert sys.stdout is sys.__stdout__ or "FileProxy" not in type(sys.stdout).__name__


def test_bars_can_be_reconnected(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    bars.disconnect()
    bars.connect(manager)
    manager.emit(start())
    clock.advance(1)

    assert len(rendered(bars)) == 1


@pytest.mark.parametrize(
    "options",
    [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}],
    ids=["a file", "a dumb terminal"],
)
def test_bars_without_terminal_do_nothing(
    manager: EventManager, store: DictMemoryStore, options: dict[str, object]
) -> None:
    console = Console(file=io.StringIO(), **options)  # type: ignore[arg-type]  # the options of a Console

    with ProgressBars(console=console, delay=0).connect(manager):
        store.from_bytes("a", b"1")
        assert repr(manager) == "<EventManager: 0 listeners>"

    assert written(console) == ""


def test_default_console_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ProgressBars()._console.stderr


def test_bars_of_many_threads_all_disappear(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    def work(number: int) -> None:
        identity = {"operation_id": str(number)}
        manager.emit(start(**identity))
        clock.now += 1
        bars.render()
        manager.emit(step(**identity))
        manager.emit(end(**identity))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400)))

    assert rendered(bars) == []


def test_bars_without_rich_raise_missing_extra_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)

    with pytest.raises(MissingExtraError, match=r"run pip install '\.\[cli\]' in a clone of Encore") as caught:
        ProgressBars()
    assert isinstance(caught.value, ImportError)


def test_bars_of_steps_are_above_bars_of_bytes(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    with ProgressManager(manager, message="copying", steps=10) as progress:
        manager.emit(start())
        clock.advance(1)
        progress(step=4)
        steps, moved = rendered(bars)

        assert steps.startswith("copying ━")
        assert "4/10" in steps
        assert moved.startswith("get 'a' ")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_bar_of_failed_steps_stays_with_the_reason(
    manager: EventManager, bars: ProgressBars, clock: FakeClock, console: Console, error: BaseException
) -> None:
    with pytest.raises(type(error)), ProgressManager(manager, message="copying", steps=10) as progress:
        clock.advance(1)
        progress(step=4)
        raise error

    assert rendered(bars) == []
    assert f"copying: {str(error) or 'KeyboardInterrupt'}" in written(console)


def test_bar_of_steps_disappears_at_the_end(manager: EventManager, bars: ProgressBars, clock: FakeClock) -> None:
    with ProgressManager(manager, message="copying", steps=10) as progress:
        clock.advance(1)
        progress(step=10)

    assert rendered(bars) == []
