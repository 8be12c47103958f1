"""The base of subscribers that handle events in a thread of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from functools import partial

from encore_events.abstract import BaseEventManager
from encore_events.events import BaseEvent, EventsDroppedEvent
from encore_events.reporting import report_failure
from encore_events.stream import EventStream
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.pump import Batch, Pump

WAITING = 20_000  # events that may wait: one second's worth at ten thousand operations a second


class Sink(Subscriber, ABC):
    """Handles every event in a thread that runs from `connect` to `disconnect`, so stores don't wait for it.

    If `_consume` raises, the error is reported and the event is counted as dropped. In a forked child the sink does
    nothing.

    Args:
        queue: the `queue` of an EventsDroppedEvent. The thread is called "encore-" and that name.
        interval: seconds between two batches.
    """

    def __init__(self, queue: str, interval: float) -> None:
        super().__init__()
        self._queue = queue
        self._interval = interval
        self._stream: EventStream[BaseEvent] | None = None

    @property
    def is_listening(self) -> bool:
        """True if the sink is connected and its thread is running."""
        return self._stream is not None and not self._stream.closed

    def take(self, event: BaseEvent) -> None:
        """Handle an event that was emitted before the sink was connected."""
        if self._stream is not None:
            self._stream.put(event)

    def _open(self, event_manager: BaseEventManager) -> None:
        """Acquire what the sink writes to, before it is connected."""

    @abstractmethod
    def _consume(self, at: float, event: BaseEvent) -> None:
        """Handle an event emitted `at` seconds since the epoch, the drop notices of the sink's stream included."""

    @abstractmethod
    def _drop(self, count: int) -> None:
        """Count dropped events."""

    def _flush(self) -> None:
        """End a batch."""

    def _close(self) -> None:
        """Release what `_open` acquired, after the last batch."""

    def _prepare(self, event_manager: BaseEventManager, connection: ExitStack) -> None:
        self._open(event_manager)
        try:
            stream = self._stream = event_manager.stream(BaseEvent, capacity=WAITING, name=self._queue)
        except BaseException:
            self._close()
            raise
        take, name = partial(self._take, event_manager, stream), f"encore-{self._queue}"
        pump = Pump(stream, take, interval=self._interval, name=name, at_end=self._close)
        pump.start()
        connection.callback(pump.stop)

    def _take(self, manager: BaseEventManager, stream: EventStream[BaseEvent], batch: Batch) -> None:
        for at, event in batch:
            if isinstance(event, EventsDroppedEvent) and event.source is stream:
                self._drop(event.count)
            try:
                self._consume(at, event)
            except Exception as error:  # noqa: BLE001 (custom events may lack any attribute: isolated as in a listener)
                self._drop(1)
                report_failure(manager, event, self._consume, error)
        self._flush()
