"""The one line of wiring: logs, metrics, bars, and a page on a port."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import REGISTRY, CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_storage.redaction import Redaction, checked_keys
from encore_storage.subscribers.bars import ProgressBars
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.logs import LogSubscriber
from encore_storage.subscribers.metrics import MetricsSubscriber

if TYPE_CHECKING:  # it brings an extra
    from encore_storage.server.publishing import Served

logger = logging.getLogger("encore_storage")

HOST = "127.0.0.1"
"""Where the page and the metrics are served: on this machine alone."""


class Monitor:
    """What `monitor` connected; it goes on until `close()`, whether anybody keeps it or not.

    Attributes:
        event_manager: whose events are observed.
        page: where a page shows them live, such as 'http://127.0.0.1:9464/', or None.
        address: where the metrics are served, such as 'http://127.0.0.1:9464/metrics', or None.
    """

    def __init__(self, event_manager: BaseEventManager, served: Served | None, connections: ExitStack) -> None:
        """Take over `connections`; for `monitor`."""
        self.event_manager = event_manager
        self.page = None if served is None else served.page
        self.address = None if served is None else f"{served.page}metrics"
        self._served = served
        self._connections = connections
        self._closed = False

    def __repr__(self) -> str:
        """Whom it observes, and where that is shown."""
        place = "" if self.page is None else f", shown at {self.page}"
        return f"<Monitor of {self.event_manager!r}{place}{', closed' * self._closed}>"

    def close(self) -> None:
        """Serve and observe no more; doing so twice does nothing."""
        self._closed = True
        self._connections.close()

    def new_login(self) -> str | None:
        """A link that logs one browser in, once, within ten minutes; the page itself where no token is asked for."""
        return None if self._served is None else self._served.new_login()

    def __enter__(self) -> Self:
        """Give the monitor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def monitor(  # noqa: PLR0913 (one line of wiring has a word for each wire)
    event_manager: BaseEventManager | None = None,
    *,
    logs: Any = True,
    metrics: bool | MetricsSubscriber = True,
    progress: bool | ProgressBars = False,
    port: int | None = None,
    registry: CollectorRegistry | None = None,
    keys: bool | Redaction = True,
    host: str = HOST,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
) -> Monitor:
    """Logs, metrics, progress bars and a live page of every store that emits on the event manager, from now on.

    >>> from encore_events import EventManager
    >>> with monitor(EventManager(), logs=False, registry=CollectorRegistry()) as observed:
    ...     observed
    <Monitor of <EventManager: 8 listeners>>

    Args:
        event_manager: by default, `get_event_manager()`.
        logs: whether to log; or a LogSubscriber, or the structlog logger to log with.
        metrics: whether to count; or a MetricsSubscriber.
        progress: whether to draw bars on a terminal; or ProgressBars.
        port: serve the page, the events and the metrics on this port; 0 takes one that is free.
        registry: where the metrics are exposed; by default, the one of prometheus_client.
        keys: True to tell keys in logs and on the port, False to leave them out, or a function of a key that gives
            what is told in its place. Bars show them on the terminal all the same.
        host: the address to serve on. Any but this machine's own needs a token.
        token: what is asked of whoever looks: `Authorization: Bearer <token>`, or a link of `Monitor.new_login`.
        allowed_hosts: further names that the server may be asked by, in the Host header.

    Raises:
        TypeError: what was given is no event manager, no port, or nothing that redacts keys.
        AddressError: the port is taken, or can't be had (an OSError).
        TokenError: the token is missing, or too short (a ValueError).
        MissingExtraError: bars need rich, a port needs Starlette and uvicorn, and it isn't installed (an ImportError).
    """
    manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
    if port is not None and type(port) is not int:
        raise TypeError(f"port must be an int, not {port!r}")
    if port is None and (host != HOST or token is not None or allowed_hosts):
        logger.warning("nothing is served: host, token or allowed_hosts was given, and no port")
    checked_keys(keys)
    exposed = REGISTRY if registry is None else registry
    with ExitStack() as connections:
        for subscriber in _subscribers(logs=logs, metrics=metrics, progress=progress, registry=exposed, keys=keys):
            connections.enter_context(subscriber.connect(manager))
        served = None
        if port is not None:
            from encore_storage.server.publishing import publish  # noqa: PLC0415 (an extra)

            served = publish(
                manager,
                exposed,
                host,
                port,
                token=token,
                allowed_hosts=allowed_hosts,
                keys=keys,
                connections=connections,
            )
        return Monitor(manager, served, connections.pop_all())


def _subscribers(
    *,
    logs: Any,
    metrics: bool | MetricsSubscriber,
    progress: bool | ProgressBars,
    registry: CollectorRegistry,
    keys: bool | Redaction,
) -> Iterator[Subscriber]:
    if metrics is not False:
        yield MetricsSubscriber(registry=registry) if metrics is True else metrics
    if logs is not False:
        yield (
            logs if isinstance(logs, LogSubscriber) else LogSubscriber(logger=None if logs is True else logs, keys=keys)
        )
    if progress is not False:
        yield ProgressBars() if progress is True else progress
