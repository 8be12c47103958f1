"""The page of a group of processes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection

from prometheus_client import CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_events.errors import ManagerClosedError
from encore_events.forks import renew_in_child
from encore_events.listeners import FIRST
from encore_events.once import Once
from encore_storage.events import StoreEvent
from encore_storage.processes.group import Group
from encore_storage.redaction import Redaction
from encore_storage.server.access import Access
from encore_storage.server.guard import LOOPBACK, checked_hosts
from encore_storage.server.hosts import is_loopback
from encore_storage.server.participant import Page, Participant
from encore_storage.subscribers.errors import TokenError
from encore_storage.subscribers.metrics import collectors

_PATIENCE = 2.0  # seconds that the first events of a child's other threads wait for it to take part

_open_pages = set["SharedPage"]()
"""The pages that are open, which run even if nobody keeps their monitor."""


class SharedPage:
    """The page that the processes of a group share, until `close()`.

    A forked child takes part with its first event, by itself.

    Args:
        page: the page.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._made: Participant | None = None
        self._is_open = False
        renew_in_child(self, SharedPage._renew)

    def __repr__(self) -> str:
        return f"<SharedPage of {self._page.group!r} at {self.address}>"

    @property
    def address(self) -> str | None:
        """The URL of the page, or None while nobody serves it."""
        return self._participant.address

    @property
    def serves(self) -> bool:
        """True if this process serves the page, not another one of the program."""
        return self._participant.serves

    @property
    def group(self) -> Group:
        """The processes that share the page."""
        return self._page.group

    def new_login(self) -> str | None:
        """Return a link that logs one browser in; the page itself if no token is required."""
        address = self.address
        return (
            address
            if address is None or self._page.access.is_open
            else f"{address}login?code={self._page.access.new_code()}"
        )

    def open(self) -> None:
        """Serve the page, or take part as another process does.

        Raises:
            AddressError: the address cannot be used. A port that another program holds is only logged, unless the page
                is required.
        """
        self._participant.start()
        self._is_open = True
        _open_pages.add(self)

    def close(self) -> None:
        """End the part that this process takes. Does nothing the second time."""
        self._is_open = False
        _open_pages.discard(self)
        self._participant.close()
        if any(other.group is self._page.group for other in list(_open_pages)):
            return  # another page of this process needs the group
        collector = collectors.get(self._page.registry)
        if self._page.group.leave_if_last() and collector is not None:
            collector.leave_group(self._page.group)

    @property
    def _participant(self) -> Participant:
        """The part of this process."""
        made = self._made
        if made is None:
            made = self._made = Participant(self._page)
        return made

    def _renew(self) -> object:
        """Wait for the first event of a forked child; return what the parent had, to be freed later."""
        inherited, self._made = self._made, None
        if inherited is None or not self._is_open:
            return inherited
        begins, has_begun, beginner = Once(), threading.Event(), list[int]()

        def begin(event: StoreEvent) -> None:
            if not begins.take():
                if threading.get_ident() not in beginner:
                    has_begun.wait(_PATIENCE)  # or the page would lack the next events of this thread
                return
            beginner.append(threading.get_ident())
            try:
                inherited.feed.disconnect()
                if self._is_open:
                    self._participant.start_in_background(event)
            finally:
                has_begun.set()
                waiting.disconnect()

        with contextlib.suppress(ManagerClosedError):
            waiting = self._page.event_manager.connect(StoreEvent, begin, priority=FIRST, weak=False)
        return inherited


def new_page(
    event_manager: BaseEventManager,
    registry: CollectorRegistry,
    group: Group,
    address: tuple[str, int],
    *,
    token: str | None,
    allowed_hosts: Collection[str],
    keys: bool | Redaction,
    required: bool,
) -> SharedPage:
    """Return a page to be opened, at a host and port; see `monitor` for the other arguments.

    Raises:
        TokenError: the token is missing or too short.
    """
    host, port = address
    if token is None and not is_loopback(host):
        raise TokenError(f"host {host!r} is reachable from other machines")
    own = () if is_loopback(host) else (host or "0.0.0.0", socket.gethostname())  # noqa: S104 (the meaning of '')
    hosts = (*LOOPBACK, host, *own, *checked_hosts(allowed_hosts))
    access = Access(token, scope=group.key)
    return SharedPage(Page(event_manager, registry, group, host, port, access, hosts, keys, required))
