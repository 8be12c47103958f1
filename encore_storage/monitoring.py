"""Logs, metrics, progress bars and a live page, connected by one call."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import REGISTRY, CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_events.loggers import get_logger
from encore_storage.clients.observe import observe as observe_client
from encore_storage.clients.observe import unobserve
from encore_storage.processes.group import Group, group_named, group_of
from encore_storage.redaction import Redaction, checked_keys
from encore_storage.subscribers.bars import ProgressBars
from encore_storage.subscribers.base import Subscriber
from encore_storage.subscribers.capping import capped_metrics
from encore_storage.subscribers.logs import LogSubscriber
from encore_storage.subscribers.metrics import MetricsSubscriber
from encore_storage.subscribers.volume import Level, checked_level, checked_sample, checked_slow

if TYPE_CHECKING:  # it brings an extra
    from encore_storage.server.publishing import SharedPage

logger = get_logger("encore_storage")

STANDARD = "logging"  # as `logs`, for the logger of the standard library
HOST = "127.0.0.1"  # the default address, reachable from this machine only


class Monitor:
    """The subscribers and the server of a `monitor` call. They run until `close()`, even if nobody keeps the monitor.

    Attributes:
        event_manager: the observed event manager.
    """

    def __init__(self, event_manager: BaseEventManager, page: SharedPage | None, connections: ExitStack) -> None:
        self.event_manager = event_manager
        self._page = page
        self._connections = connections
        self._closed = False

    @property
    def page(self) -> str | None:
        """The URL of the live page, such as 'http://127.0.0.1:9464/', or None while there is none.

        It may be served by another process of the program.
        """
        return None if self._page is None else self._page.address

    @property
    def address(self) -> str | None:
        """The URL of the metrics, such as 'http://127.0.0.1:9464/metrics', or None while there is no page."""
        page = self.page
        return None if page is None else f"{page}metrics"

    @property
    def serves(self) -> bool:
        """True if this process serves the page; False if another one of the program does, or there is none."""
        return self._page is not None and self._page.serves

    def __repr__(self) -> str:
        page = self.page
        place = "" if page is None else f", shown at {page}"
        return f"<Monitor of {self.event_manager!r}{place}{', closed' * self._closed}>"

    def close(self) -> None:
        """Disconnect the subscribers and stop the server. Does nothing the second time."""
        self._closed = True
        self._connections.close()

    def new_login(self) -> str | None:
        """Return a link that logs one browser in, once, within ten minutes; without a token, `page`."""
        return None if self._page is None else self._page.new_login()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def monitor(  # noqa: C901, PLR0913 (all of these are options of one call)
    event_manager: BaseEventManager | None = None,
    *,
    logs: Any = True,
    metrics: bool | MetricsSubscriber = True,
    progress: bool | ProgressBars = False,
    log_level: Level = "info",
    log_slow: float | None = None,
    log_sample: float | None = None,
    port: int | None = None,
    registry: CollectorRegistry | None = None,
    keys: bool | Redaction = True,
    host: str = HOST,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    observe: bool | Iterable[object] = False,
    group: str | None = None,
    required: bool = False,
) -> Monitor:
    """Connect logs, metrics, progress bars and a live page to the events of all stores of an event manager.

    >>> from encore_events import EventManager
    >>> with monitor(EventManager(), logs=False, registry=CollectorRegistry()) as observed:
    ...     observed
    <Monitor of <EventManager: 8 listeners>>

    Args:
        event_manager: by default, `get_event_manager()`.
        logs: whether to log through structlog, or a LogSubscriber, or a structlog logger, or "logging" for the logger
            `encore_storage` of the standard library.
        metrics: whether to count, or a MetricsSubscriber.
        progress: whether to draw bars on a terminal, or ProgressBars.
        log_level: the lowest level that is logged.
        log_slow: the seconds from which on operations without a failure are logged; by default, all are.
        log_sample: the share of the other operations without a failure to log, as in LogSubscriber.
        port: the port for the page, the events and the metrics; 0 takes a free one, None serves nothing.
        registry: the registry of the metrics; by default, prometheus_client's own.
        keys: True to show keys in logs and on the port, False to omit them, or a function that returns the
            replacement of a key. Bars always show keys.
        host: the address to serve on. One that other machines can reach requires a token.
        token: required of clients, as `Authorization: Bearer <token>` or by a link of `Monitor.new_login`.
        allowed_hosts: further host names that clients may use, as in the Host header.
        observe: True to observe every supported client library, or the targets to pass to `observe()`, until the
            monitor is closed.
        group: the name of the group of processes that share the page and the metrics; by default, all processes of
            this program with the same host and port.
        required: whether it is an error if another program holds the port. Otherwise that is logged, the program goes
            on without a page, and the group tries again every ten seconds.

    Raises:
        UnsupportedClientError: a target cannot be observed (a TypeError).
        TypeError: an argument has the wrong type, or a page is required without a port.
        AddressError: the address can't be used, or the port is taken and the page is required (an OSError).
        ValueError: the name of the group is empty, too long or not printable, or there is no such level, `log_slow` is
            negative, or `log_sample` is not a share from 0 to 1.
        TokenError: the token is missing or too short (a ValueError).
        MissingExtraError: rich (for bars) or Starlette or uvicorn (for a port) isn't installed (an ImportError).
    """
    manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
    _check_types(logs, registry)
    checked_keys(keys)
    log = _log_subscriber(logs, log_level, log_slow, log_sample, keys=keys)
    targets = _targets(observe)
    _check_port(port, required=required)
    if port is None and (host != HOST or token is not None or allowed_hosts):
        logger.warning("nothing is served: host, token or allowed_hosts was given, and no port")
    if not isinstance(metrics, bool | MetricsSubscriber):
        raise TypeError(f"metrics must be True, False or a MetricsSubscriber, not {metrics!r}")
    if not isinstance(progress, bool | ProgressBars):
        raise TypeError(f"progress must be True, False or a ProgressBars, not {progress!r}")
    exposed = REGISTRY if registry is None else registry
    members = _group(group, host, port)
    subscribers = list[Subscriber]()
    if metrics is not False:
        subscribers.append(MetricsSubscriber(registry=exposed, group=members) if metrics is True else metrics)
    if log is not None:
        subscribers.append(log)
    if progress is not False:
        subscribers.append(ProgressBars() if progress is True else progress)
    page = None
    if port is not None and members is not None:
        from encore_storage.server.publishing import new_page  # noqa: PLC0415 (an extra)

        options: Any = {"token": token, "allowed_hosts": allowed_hosts, "keys": keys, "required": required}
        page = new_page(manager, exposed, members, (host, port), **options)
    with ExitStack() as connections:
        if keys is not True:
            connections.enter_context(manager.reporting_types_only())
        if page is not None:
            connections.callback(page.close)  # last, since the metrics join the group
        for subscriber in subscribers:
            connections.enter_context(subscriber.connect(manager))
        if page is not None:
            page.open()
        for target in targets:
            connections.callback(unobserve, target)
            observe_client(target, event_manager=manager)
        return Monitor(manager, page, connections.pop_all())


def _group(name: str | None, host: str, port: int | None) -> Group | None:
    """Return the group of processes that share the page and the metrics, or None."""
    if name is not None:
        return group_named(name, reduce=capped_metrics)
    return None if port is None else group_of(host, port, reduce=capped_metrics)


def _check_port(port: object, *, required: bool) -> None:
    if port is None and required:
        raise TypeError("a page is required, and there is no port: pass port=..., or leave out required")
    if port is not None and type(port) is not int:
        raise TypeError(f"port must be an int, not {port!r}")


def _check_types(logs: object, registry: object) -> None:
    is_standard = isinstance(logs, str) and logs == STANDARD
    if not is_standard and not isinstance(logs, bool | LogSubscriber) and not hasattr(logs, "bind"):
        raise TypeError(
            f"logs must be True, False or a structlog logger, a LogSubscriber or {STANDARD!r}, not {logs!r}: "
            "pass structlog.wrap_logger(...) of another logger"
        )
    if registry is not None and not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a CollectorRegistry of prometheus_client, not {registry!r}")


def _log_subscriber(
    logs: Any, level: Level, slow: float | None, sample: float | None, *, keys: bool | Redaction
) -> LogSubscriber | None:
    """Return the subscriber for the argument `logs`, or None if nothing is logged. The other arguments are checked."""
    checked_level(level, "log_level")
    checked_slow(slow, "log_slow")
    checked_sample(sample, "log_sample")
    if isinstance(logs, LogSubscriber):
        if (level, slow, sample) != ("info", None, None):
            raise TypeError(
                f"log_level, log_slow and log_sample have no effect on {logs!r}: "
                "pass level, slow and sample to LogSubscriber"
            )
        return logs
    if logs is False:
        return None
    given = None if logs is True else logs
    if isinstance(logs, str):
        from encore_storage.subscribers.plain_logging import standard_logger  # noqa: PLC0415 (it imports structlog)

        given = standard_logger()
    return LogSubscriber(logger=given, level=level, keys=keys, slow=slow, sample=sample)


def _targets(observe: object) -> tuple[object, ...]:
    """Return the arguments for `observe()`; None stands for every library."""
    if isinstance(observe, bool):
        return (None,) if observe else ()
    if not isinstance(observe, Iterable) or isinstance(observe, str | bytes):
        kind = type(observe).__name__  # its text may have a password
        raise TypeError(
            f"observe must be True, False or a list of modules and clients, as in [fsspec], not an object of {kind!r}"
        )
    targets = tuple(observe)
    if any(isinstance(target, str) for target in targets):
        raise TypeError("observe must be a list of modules and clients, not of names: import fsspec, and pass [fsspec]")
    if any(target is None for target in targets):
        raise TypeError("observe must be a list of targets without None: pass True to observe every library")
    return targets
