"""The application of an event manager, served on a port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_storage.redaction import Redaction
from encore_storage.server.app import create_app
from encore_storage.server.guard import LOOPBACK, checked_hosts
from encore_storage.server.hosts import is_loopback
from encore_storage.server.serving import Server
from encore_storage.subscribers.errors import TokenError


class Served(NamedTuple):
    """A served application.

    Attributes:
        page: the URL of the live page.
        new_login: returns a link that logs one browser in; the page itself if no token is required.
    """

    page: str
    new_login: Callable[[], str]


def publish(
    event_manager: BaseEventManager,
    registry: CollectorRegistry,
    host: str,
    port: int,
    *,
    token: str | None,
    allowed_hosts: Collection[str],
    keys: bool | Redaction,
    connections: ExitStack,
) -> Served:
    """Serve the application of `event_manager` until `connections` is closed; see `monitor` for the arguments.

    `connections` holds plain callbacks, so the server keeps running if the caller drops it.

    Raises:
        AddressError: the server cannot listen on the port.
        TokenError: the token is missing or too short.
    """
    if token is None and not is_loopback(host):
        raise TokenError(f"host {host!r} is reachable from other machines")
    own = () if is_loopback(host) else (host or "0.0.0.0", socket.gethostname())  # noqa: S104 (the meaning of '')
    hosts = (*LOOPBACK, host, *own, *checked_hosts(allowed_hosts))
    app = create_app(event_manager, registry=registry, token=token, allowed_hosts=hosts, keys=keys)
    connections.callback(app.state.feed.disconnect)
    server = Server(app, host, port)
    connections.callback(server.close)
    connections.callback(app.state.close)

    def new_login() -> str:
        access = app.state.access
        return server.address if access.is_open else f"{server.address}login?code={access.new_code()}"

    return Served(server.address, new_login)
