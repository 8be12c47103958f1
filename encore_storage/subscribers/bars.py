"""Progress bars from events, drawn by rich."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from encore_events.abstract import BaseEventManager
from encore_events.forks import renew_in_child
from encore_events.printing import printable
from encore_events.progress import ProgressEndEvent, ProgressStartEvent, ProgressStepEvent
from encore_events.text import message_of, text_of
from encore_storage.events import StoreProgressEndEvent, StoreProgressEvent
from encore_storage.subscribers.base import Listeners, Subscriber
from encore_storage.subscribers.errors import MissingExtraError
from encore_storage.subscribers.in_progress import InProgress
from encore_storage.subscribers.odd_values import hashable, name_of, number_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.progress import Progress, TaskID

Counts = Literal["bytes", "steps"]

_REFRESHES = 10  # a second


class ProgressBars(Subscriber):
    """Draws a bar for each operation that moves bytes or counts steps and lasts longer than `delay`.

    A bar shows bytes and speed, or steps, and the time left. It pulses if the total is unknown. It disappears when its
    operation ends, but that of a failed operation stays, in red and with the error. If the console is not a terminal,
    nothing is connected. In a forked child the bars are disconnected, since the terminal is the parent's.

    Args:
        console: a console of rich; by default, standard error.
        delay: the age in seconds at which an operation gets a bar.
        clock: monotonic seconds.

    Raises:
        MissingExtraError: rich is not installed (an ImportError).
    """

    def __init__(
        self, *, console: Console | None = None, delay: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        try:
            from rich.console import Console  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise MissingExtraError("ProgressBars", "rich", "cli") from error
        self._console = Console(stderr=True) if console is None else console
        self._delay = delay
        self._clock = clock
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._bars = InProgress[_Bar]()
        self._make_tables()
        renew_in_child(self, ProgressBars._renew)

    def render(self) -> RenderableType:
        """Return the current bars for rich, which draws them ten times a second."""
        from rich.console import Group  # noqa: PLC0415 (an extra)

        with self._lock:
            for bar in list(self._bars.values()):
                self._draw_if_due(bar)
        return Group(self._steps.get_renderable(), self._bytes.get_renderable())

    def _make_tables(self) -> None:
        self._bytes = _table(self._console, self._clock)
        self._steps = _table(self._console, self._clock, counts="steps")

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:  # noqa: ARG002 (as in the base)
        from rich.live import Live  # noqa: PLC0415 (an extra)

        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self.render,
                refresh_per_second=_REFRESHES,
                redirect_stdout=False,  # it is the program's: it may be a file
            )
            connection.callback(self._live.stop)
            with _visible_cursor(self._console):
                self._live.start()
            connection.callback(self._forget)

    def _listeners(self) -> Listeners:
        if self._live is None:
            return {}
        return {ProgressStartEvent: self._started, ProgressStepEvent: self._moved, ProgressEndEvent: self._ended}

    def _unheard_listeners(self) -> Listeners:
        return {} if self._live is None else {ProgressEndEvent: self._ended_unheard}

    def _started(self, event: ProgressStartEvent) -> None:
        if self._live is None or (isinstance(event, StoreProgressEvent) and event.direction is None):
            return
        table = self._bytes if isinstance(event, StoreProgressEvent) else self._steps
        replaced = self._bars.pop(hashable(event.operation_id), None)
        bar = _Bar(table, text_of(event.message), self._clock() + self._delay, _count(event.steps, -1))
        for stale in (replaced, *self._bars.start(hashable(event.operation_id), bar)):
            self._undraw(stale)

    def _moved(self, event: ProgressStepEvent) -> None:
        with self._lock:
            bar = self._bars.get(hashable(event.operation_id))
            if bar is None:
                return
            bar.steps, bar.step = _count(event.steps, -1), _count(event.step, 0)
            self._draw_if_due(bar)
            if bar.task is not None:
                bar.table.update(bar.task, total=bar.total, completed=bar.step)

    def _ended(self, event: ProgressEndEvent) -> None:
        bar = self._bars.pop(hashable(event.operation_id), None)
        if bar is None or not self._undraw(bar):
            return
        if isinstance(event, StoreProgressEndEvent):
            bar.steps, bar.step = _count(event.steps, -1), _count(event.bytes, 0)
            if name_of(event.outcome) == "error":
                self._print_failed(bar, "bytes", "failed" if event.error is None else message_of(event.error))
        elif name_of(event.exit_state) in {"error", "exception"}:
            self._print_failed(bar, "steps", text_of(event.message))

    def _ended_unheard(self, event: ProgressEndEvent) -> None:
        self._undraw(self._bars.pop(hashable(event.operation_id), None))

    def _draw_if_due(self, bar: _Bar) -> None:
        if bar.task is None and self._clock() >= bar.due:
            bar.task = bar.table.add_task(printable(bar.description), total=bar.total, completed=bar.step)

    def _undraw(self, bar: _Bar | None) -> bool:
        """Remove the bar from its table. Return whether it was drawn."""
        with self._lock:  # another thread may be drawing it
            if bar is None or bar.task is None:
                return False
            bar.table.remove_task(bar.task)
            return True

    def _print_failed(self, bar: _Bar, counts: Counts, reason: str) -> None:
        """Print the bar permanently, above the live ones."""
        failed = _table(self._console, self._clock, counts=counts, style="red")
        failed.add_task(printable(f"{bar.description}: {reason}"), total=bar.total, completed=bar.step)
        self._console.print(failed.get_renderable())

    def _renew(self) -> object:
        """Disconnect in a forked child without drawing. Return the parent's bars, to be freed."""
        inherited = self._live, self._bytes, self._steps
        self._lock = threading.RLock()
        if self._live is not None:
            _abandon(self._live)
            self._live = None
            self._make_tables()
            self.disconnect()
        return inherited

    def _forget(self) -> None:
        with self._lock:
            self._live = None
            self._bars.clear()
            self._make_tables()


@contextmanager
def _visible_cursor(console: Console) -> Iterator[None]:
    """Keep rich from hiding the cursor, which a killed program would leave hidden."""
    own = vars(console)
    own["show_cursor"] = lambda _show=True: False
    try:
        yield
    finally:
        del own["show_cursor"]


def _abandon(live: Live) -> None:
    """Undo in a forked child what `live` did to the process. Its thread and the terminal are the parent's."""
    from rich.file_proxy import FileProxy  # noqa: PLC0415 (an extra)

    own, of_console = vars(live), vars(live.console)
    for name in ("stdout", "stderr"):
        proxy, original = getattr(sys, name), own[f"_restore_{name}"]
        if original is not None and isinstance(proxy, FileProxy) and proxy.rich_proxied_file is original:
            vars(proxy)["_FileProxy__buffer"].clear()  # the start of a line that the parent will complete
            setattr(sys, name, original)
        own[f"_restore_{name}"] = None
    own |= {"_lock": threading.RLock(), "_started": False, "_refresh_thread": None}
    of_console |= {"_lock": threading.RLock(), "_record_buffer_lock": threading.RLock()}
    if of_console.get("_live") is live:  # until rich 14.0
        of_console["_live"] = None
    for stack in ("_live_stack", "_render_hooks"):
        of_console[stack] = [each for each in of_console.get(stack, ()) if each is not live]


@dataclass(slots=True)
class _Bar:
    """An operation, and its task in the table once it is drawn."""

    table: Progress
    description: str
    due: float
    steps: int
    step: int = 0
    task: TaskID | None = None

    @property
    def total(self) -> int | None:
        return None if self.steps < 0 else self.steps


def _count(value: object, unknown: int) -> int:
    number = number_of(value)
    return unknown if number is None else int(number)


def _table(
    console: Console, clock: Callable[[], float], *, counts: Counts = "bytes", style: str | None = None
) -> Progress:
    """Return a table of bars in `style` (by default, rich's colours). It draws nothing by itself."""
    from rich.progress import (  # noqa: PLC0415 (an extra)
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    text = TextColumn("{task.description}", style=style or "none", markup=False)
    bar = BarColumn(complete_style=style, finished_style=style, pulse_style=style) if style else BarColumn()
    amount = DownloadColumn() if counts == "bytes" else MofNCompleteColumn()
    speed = (TransferSpeedColumn(),) if counts == "bytes" else ()
    moving = () if style else (*speed, TimeRemainingColumn())
    return Progress(text, bar, amount, *moving, console=console, get_time=clock)
