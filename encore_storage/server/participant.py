"""The part that one process takes in a page that several processes share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from encore_events.abstract import BaseEventManager
from encore_events.loggers import get_logger
from encore_storage.events import StoreEvent
from encore_storage.processes.cell_directory import Member
from encore_storage.processes.group import Group, call_at_exit
from encore_storage.processes.leadership import Leadership
from encore_storage.processes.ports import holder_of
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from encore_storage.redaction import Redaction
from encore_storage.server.access import Access
from encore_storage.server.app import create_app
from encore_storage.server.ended import add_ended
from encore_storage.server.feed import EventFeed
from encore_storage.server.serving import Server, address_of
from encore_storage.server.succession import SERVING, Serving
from encore_storage.server.vanished import VanishedProcesses
from encore_storage.subscribers.errors import AddressError
from encore_storage.subscribers.metrics import collectors

logger = get_logger("encore_storage")

EVENTS = "events"
"""The socket in the directory of a group to which its processes send their events."""

ADDRESS = "address"
"""The file in the directory of a group with the address of its page, empty while there is none."""

_FOLD_SECONDS = 5.0  # after a process joined or left: its end may be noticed before the system has released its files
_RETRY_SECONDS = 10.0  # between two attempts to serve on a port that another program holds


@dataclass(frozen=True)
class Page:
    """A page, and where it is served.

    Attributes:
        event_manager: the events to show.
        registry: the metrics to expose.
        group: the processes that share it.
        host: the address to serve on.
        port: the port, or 0 for a free one.
        access: the token, and the codes and sessions that all processes accept.
        hosts: the accepted names in the Host header.
        keys: as in EventFeed.
        required: whether a port that is taken is an error.
    """

    event_manager: BaseEventManager
    registry: CollectorRegistry
    group: Group
    host: str
    port: int
    access: Access
    hosts: Collection[str]
    keys: bool | Redaction
    required: bool


class Participant:
    """The part that one process takes in a shared page: it serves the page, or sends its events to who does."""

    def __init__(self, page: Page) -> None:
        self.feed = EventFeed(keys=page.keys)
        self._page = page
        self._server: Server | None = None
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._close_app: Callable[[], object] = lambda: None
        self._leadership: Leadership | None = None
        self._retry_at = self._fold_until = 0.0
        self._version = 0  # of the members
        self._vanished = VanishedProcesses(self.feed.members)
        self._has_warned = False
        self._is_required = page.required  # until the program has started
        self._forget_exit: Callable[[], object] = lambda: None

    @property
    def serves(self) -> bool:
        """True if this process serves the page."""
        return self._server is not None

    @property
    def address(self) -> str | None:
        """The URL of the page, or None while nobody serves it."""
        server, path, page = self._server, self._page.group.path, self._page
        if server is not None:
            return server.address
        if path is None or (self._leadership is not None and self._leadership.leads):
            return None
        with contextlib.suppress(OSError):
            return (path / ADDRESS).read_text(encoding="utf-8") or None
        return address_of(page.host, page.port) if page.port else None  # who leads has not served it yet

    def start(self) -> None:
        """Begin, and serve at once if nobody does. Raises AddressError."""
        self._connect()
        try:
            self._make_leadership().start()
        except BaseException:
            self.feed.disconnect()
            self._forget_exit()
            raise
        self._is_required = False

    def start_in_background(self, event: StoreEvent) -> None:
        """Begin without waiting, with `event` as the first.

        Without a directory, the parent alone has a page: this process could only compete for its port.
        """
        self._is_required = False
        if self._page.group.path is None:
            return
        self._link()
        try:
            self.feed.take_up(event)  # before its thread consumes others
        finally:  # a program's own event may lack any attribute
            self._connect()
            self._make_leadership().start_in_background()

    def close(self) -> None:
        """End, after all events that were emitted have been taken. Does nothing the second time."""
        self.feed.disconnect()
        if self._leadership is not None:
            self._leadership.close()
        self._forget_exit()

    def lead(self) -> None:
        """Serve the page, for the other processes too. Raises AddressError."""
        path = self._page.group.path
        try:
            if path is not None:
                self._succeed(path / SERVING)
            self._bind()
            self.feed.serve()
            self._receive()
        except BaseException:
            self.resign()
            raise

    def _receive(self) -> None:
        """Take what the other processes send. It raises nothing that a second attempt would count twice."""
        path, cells = self._page.group.path, self._page.group.cells
        if cells is not None:
            add_ended(cells.read().ended, self.feed.members.sum.history)  # before a process that ends later can connect
        if path is None:
            return
        receiver = Receiver(path / EVENTS, self.feed, on_vanished=self._vanished.add)
        try:
            receiver.start()
        except (OSError, RuntimeError) as error:  # no socket, or no thread
            logger.warning("the page shows no events of the other processes: %s", error)
        else:
            self._receiver = receiver

    def tick(self) -> None:
        """Add up the metrics of ended processes, and try again to serve where another program had the port."""
        now, version = time.monotonic(), self.feed.members.version
        if version != self._version:
            self._version, self._fold_until = version, now + _FOLD_SECONDS
        self._vanished.log(self._fold() if now < self._fold_until else ())
        if self._server is not None and not self._server.is_alive:
            logger.error(
                "the server of the page %s has ended: see the error before (trying again)", self._server.address
            )
            self._stop_serving()
            self._retry_at = now + _RETRY_SECONDS  # it may end again at once
        if self._server is None and now >= self._retry_at:
            self._bind()
        self._share_rest()

    def resign(self) -> None:
        """Stop serving."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.close()
        self._stop_serving()
        self._end_serving()

    def follow(self, seconds: float) -> None:
        """Send the events to the process that serves."""
        self._share_rest()
        sender = self._sender or self._link()
        if sender is not None and sender.connect():
            sender.wait_closed(seconds)

    def stop_following(self) -> None:
        """Send the rest, and let `follow` return."""
        sender = self._sender
        if sender is not None:
            if not self.feed.serves:
                sender.connect()  # it may have had no time for that
            sender.close()

    def _share_rest(self) -> None:
        collector = collectors.get(self._page.registry)
        if collector is not None:
            collector.share_rest()

    def _link(self) -> Sender | None:
        """Forward all events from now on; they wait until the process that serves is connected."""
        path = self._page.group.path
        if path is not None:
            self._sender = Sender(path / EVENTS, self.feed.own.process)
            self.feed.forward_to(self._sender)
        return self._sender

    def _connect(self) -> None:
        self._forget_exit = call_at_exit(self._close_at_exit)  # first, so that the feed has sent everything by then
        self.feed.connect(self._page.event_manager)

    def _close_at_exit(self) -> None:
        """Send the rest, to clients too. A server without any ends with the process."""
        self.feed.disconnect()
        self.stop_following()
        leadership, server = self._leadership, self._server
        if leadership is None or not leadership.leads:
            return
        if server is not None and server.has_connections:
            leadership.close()
        else:
            self._end_serving()

    def _end_serving(self) -> None:
        """Log the processes that have vanished, and be none of them."""
        try:
            self._vanished.log(self._fold(), is_last=True)
        finally:
            path = self._page.group.path
            if path is not None:
                Serving(None, (*self.feed.former_runs, self.feed.run)).write(path / SERVING)

    def _succeed(self, path: Path) -> None:
        """Take over from the process that served before; the file still names it if it has vanished."""
        before = Serving.read(path)
        self.feed.former_runs = tuple(run for run in before.runs if run != self.feed.run)
        if before.process is not None:
            self._vanished.add_predecessor(before.process)
        Serving(self.feed.own.process, (*self.feed.former_runs, self.feed.run)).write(path)

    def _fold(self) -> list[Member]:
        """Add up the metrics of ended processes, and return those that did not close theirs."""
        cells = self._page.group.cells
        if cells is not None:
            with contextlib.suppress(OSError):  # the disk is full: each scrape adds them up
                return cells.fold()
        return []

    def _make_leadership(self) -> Leadership:
        self._leadership = Leadership(self._page.group.path, self)
        return self._leadership

    def _bind(self) -> None:
        """Serve the page if the port is free. Otherwise log that once, or raise AddressError if it is required."""
        page = self._page
        app = create_app(feed=self.feed, registry=page.registry, token=page.access, allowed_hosts=page.hosts)
        try:
            self._server = self._new_server(app)
        except AddressError as error:
            if not error.is_taken:
                raise
            if self._is_required:
                reason = f"{holder_of(page.port) or 'another program'} holds it"
                raise AddressError(page.host, page.port, reason, is_taken=True) from error
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._publish_address("")
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "no page on port %d, which %s holds: choose another port (trying again every %d s)",
                    page.port,
                    holder_of(page.port) or "another program",
                    _RETRY_SECONDS,
                )
            return
        if self._has_warned:
            self._has_warned = False
            logger.info("port %d is free: the page is at %s now", page.port, self._server.address)
        self._close_app = app.state.close
        self._publish_address(self._server.address)

    def _stop_serving(self) -> None:
        server, self._server = self._server, None
        self._close_app()
        if server is not None:
            server.close()

    def _publish_address(self, address: str) -> None:
        """Write the address for the other processes; an empty one if there is no page."""
        path = self._page.group.path
        if path is not None:
            try:
                (path / ADDRESS).write_text(address, encoding="utf-8")
            except OSError:  # the disk is full, and the file empty
                with contextlib.suppress(OSError):
                    (path / ADDRESS).unlink()

    def _new_server(self, app: Any) -> Server:
        """Return a server on the port of the page; with port 0, on that of the process that served it before."""
        page, path = self._page, self._page.group.path
        if not page.port and path is not None:
            with contextlib.suppress(OSError, ValueError):
                port = urlsplit((path / ADDRESS).read_text(encoding="utf-8")).port
                return Server(app, page.host, port or 0)  # an AddressError is an OSError
        return Server(app, page.host, page.port)
