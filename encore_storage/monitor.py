"""The one line of wiring: logs, metrics, bars, and a place to scrape the metrics from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_storage.subscribers.bars import ProgressBars
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.errors import AddressError
from encore_storage.subscribers.logs import LogSubscriber
from encore_storage.subscribers.metrics import MetricsSubscriber

HOST = "127.0.0.1"
"""Where metrics are served: on this machine alone."""


class Monitor:
    """What `monitor` connected; it goes on until `close()`, whether anybody keeps it or not.

    Attributes:
        event_manager: whose events are observed.
        address: where the metrics are served, such as 'http://127.0.0.1:9464/metrics', or None.
    """

    def __init__(self, event_manager: BaseEventManager, address: str | None, connections: ExitStack) -> None:
        """Take over `connections`; for `monitor`."""
        self.event_manager = event_manager
        self.address = address
        self._connections = connections
        self._closed = False

    def __repr__(self) -> str:
        """Whom it observes, and where the metrics are."""
        place = "" if self.address is None else f", metrics at {self.address}"
        return f"<Monitor of {self.event_manager!r}{place}{', closed' * self._closed}>"

    def close(self) -> None:
        """Serve and observe no more; doing so twice does nothing."""
        self._closed = True
        self._connections.close()

    def __enter__(self) -> Self:
        """Give the monitor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def monitor(
    event_manager: BaseEventManager | None = None,
    *,
    logs: Any = True,
    metrics: bool | MetricsSubscriber = True,
    progress: bool | ProgressBars = False,
    port: int | None = None,
    registry: CollectorRegistry | None = None,
) -> Monitor:
    """Logs, metrics and progress bars of every store that emits on the event manager, from now on.

    >>> from encore_events import EventManager
    >>> with monitor(EventManager(), logs=False, registry=CollectorRegistry()) as observed:
    ...     observed
    <Monitor of <EventManager: 8 listeners>>

    Args:
        event_manager: by default, `get_event_manager()`.
        logs: whether to log; or a LogSubscriber, or the structlog logger to log with.
        metrics: whether to count; or a MetricsSubscriber.
        progress: whether to draw bars on a terminal; or ProgressBars.
        port: serve `registry` under /metrics on this port of 127.0.0.1; 0 takes one that is free.
        registry: where the metrics are exposed; by default, the one of prometheus_client.

    Raises:
        TypeError: what was given is no event manager, or no port.
        AddressError: the port is taken, or can't be had (an OSError).
        MissingExtraError: bars need rich, which is not installed (an ImportError).
    """
    manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
    if port is not None and not isinstance(port, int):
        raise TypeError(f"port must be an int, not {port!r}")
    exposed = REGISTRY if registry is None else registry
    with ExitStack() as connections:
        for subscriber in _subscribers(logs=logs, metrics=metrics, progress=progress, registry=exposed):
            connections.enter_context(subscriber.connect(manager))
        address = None if port is None else _serve(exposed, port, connections)
        return Monitor(manager, address, connections.pop_all())


def _subscribers(
    *, logs: Any, metrics: bool | MetricsSubscriber, progress: bool | ProgressBars, registry: CollectorRegistry
) -> Iterator[Subscriber]:
    if metrics is not False:
        yield MetricsSubscriber(registry=registry) if metrics is True else metrics
    if logs is not False:
        yield logs if isinstance(logs, LogSubscriber) else LogSubscriber(logger=None if logs is True else logs)
    if progress is not False:
        yield ProgressBars() if progress is True else progress


def _serve(registry: CollectorRegistry, port: int, connections: ExitStack) -> str:
    """The address of a new server, whose end is left to `connections`."""
    try:
        server, thread = start_http_server(port, HOST, registry)
    except (OSError, OverflowError) as error:
        raise AddressError(HOST, port, getattr(error, "strerror", None) or str(error)) from error
    connections.callback(thread.join)
    connections.callback(server.server_close)
    connections.callback(server.shutdown)
    return f"http://{HOST}:{server.server_port}/metrics"
