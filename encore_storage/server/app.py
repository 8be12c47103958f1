"""The web application: metrics, events and current operations for programs, and a live page for people."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from encore_storage.subscribers.errors import MissingExtraError

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
except ModuleNotFoundError as error:
    raise MissingExtraError("serving a page", (error.name or "starlette").partition(".")[0], "server") from error

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from encore_events.abstract import BaseEventManager
from encore_events.default import checked_event_manager, get_event_manager
from encore_storage.codec import dumps
from encore_storage.codec.messages import short_repr
from encore_storage.redaction import Redaction
from encore_storage.server.access import SESSION_SECONDS, Access
from encore_storage.server.errors import QueryError
from encore_storage.server.feed import CAPACITY, EventFeed
from encore_storage.server.guard import LOOPBACK, Guard, checked_hosts, cookie_name, on_error, on_not_found, refusal
from encore_storage.server.query import Query, parse_position, parse_query, parse_view
from encore_storage.server.recent import KEPT
from encore_storage.server.sse import EventStreams, Selection
from encore_storage.server.ticker import Ticker
from encore_storage.subscribers.exposing import render
from encore_storage.subscribers.metrics import collectors

MAX_CLIENTS = 1000  # event streams
IN_FLIGHT = 100  # operations in flight that are listed
PAGE = Path(__file__).with_name("page")


def create_app(
    event_manager: BaseEventManager | None = None,
    *,
    feed: EventFeed | None = None,
    registry: CollectorRegistry | None = None,
    token: str | Access | None = None,
    allowed_hosts: Collection[str] = LOOPBACK,
    keys: bool | Redaction = True,
    capacity: int = CAPACITY,
    open_to_all: bool = False,
) -> Starlette:
    """Return a Starlette application that shows what the stores of an event manager do.

    It listens until `app.state.feed.disconnect()` or the end of its lifespan. It can be mounted in another application.

    >>> from encore_events import EventManager
    >>> app = create_app(EventManager())
    >>> [route.path for route in app.routes]
    ['/', '/events', '/api/operations', '/api/processes', '/metrics', '/healthz', '/login', '/page']
    >>> app.state.feed.disconnect()

    Args:
        event_manager: by default, `get_event_manager()`.
        feed: a connected feed to show, instead of a new one. It has its own event manager, keys and capacity.
        registry: the metrics to expose; by default, the registry of prometheus_client.
        token: required of programs, and of browsers in the form of a login link; None allows all clients on this
            machine. Or the access that other processes share.
        allowed_hosts: the accepted names in the Host header, without a port.
        keys: True to show keys, False to leave them out, or a function that returns a replacement.
        capacity: how many of the latest events are kept for clients that resume.
        open_to_all: without a token, whether to answer other machines too; for applications with their own access
            control.

    Raises:
        TypeError: both a feed and one of its own arguments are given.
        TokenError: the token is too short (a ValueError).
        MissingExtraError: Starlette is not installed (an ImportError; raised when this module is imported).
    """
    if feed is not None and (event_manager is not None or keys is not True or capacity != CAPACITY):
        raise TypeError("a feed has its own event_manager, keys and capacity: pass them to EventFeed()")
    access = token if isinstance(token, Access) else Access(token)
    hosts, shown = checked_hosts(allowed_hosts), feed
    if shown is None:
        manager = get_event_manager() if event_manager is None else checked_event_manager(event_manager)
        shown = EventFeed(capacity=capacity, keys=keys).connect(manager)
    endpoints = _Endpoints(shown, REGISTRY if registry is None else registry, access)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        if feed is None:
            shown.disconnect()  # before the end of the streams, which send its last events
        endpoints.close()

    app = Starlette(
        routes=[
            Route("/", endpoints.page),
            Route("/events", endpoints.events),
            Route("/api/operations", endpoints.operations),
            Route("/api/processes", endpoints.processes),
            Route("/metrics", endpoints.metrics),
            Route("/healthz", endpoints.health),
            Route("/login", endpoints.login),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        middleware=[Middleware(Guard, access=access, hosts=hosts, open_to_all=open_to_all)],
        exception_handlers={404: on_not_found, Exception: on_error},
        lifespan=lifespan,
    )
    app.state.feed, app.state.access, app.state.close = shown, access, endpoints.close
    return app


class _Endpoints:
    """The handlers of the routes."""

    def __init__(self, feed: EventFeed, registry: CollectorRegistry, access: Access) -> None:
        self._feed = feed
        self._registry = registry
        self._access = access
        self._ticker = Ticker(lambda: feed.ring.last)
        self._streams = EventStreams(feed, self._ticker)
        self._clients = 0

    def close(self) -> None:
        """End all streams after the events of the feed so far. Thread-safe."""
        self._ticker.close()

    async def page(self, _request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    async def events(self, request: Request) -> Response:
        pairs = request.query_params.multi_items()
        try:
            query, view = parse_query(pairs), parse_view(pairs)
            position = parse_position(pairs, request.headers.get("last-event-id"))
        except QueryError as error:
            return refusal(400, str(error))
        if self._clients >= MAX_CLIENTS:
            return refusal(503, f"{MAX_CLIENTS} clients are connected: try again later", {"Retry-After": "10"})
        streams = self._streams
        if view == "summary":
            stream = streams.summaries(Selection(query.stores, query.processes), position)
        else:
            stream = streams.events(query, position)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(stream), media_type="text/event-stream", headers=headers)

    async def operations(self, request: Request) -> Response:
        pairs = request.query_params.multi_items()
        if unknown := [name for name, _ in pairs if name not in ("store", "process")]:
            return refusal(400, f"unknown parameter {short_repr(unknown[0])}: use store or process")
        try:
            query = parse_query(pairs)
        except QueryError as error:
            return refusal(400, str(error))
        return Response(dumps(self._operations(query)), media_type="application/json")

    async def processes(self, request: Request) -> Response:
        if request.query_params:
            name = short_repr(request.query_params.multi_items()[0][0])
            return refusal(400, f"unknown parameter {name}: it takes none")
        found = {"processes": self._feed.processes(with_totals=True), "ended_before": self._feed.members.omitted}
        return Response(dumps(found), media_type="application/json")

    def metrics(self, request: Request) -> Response:  # sync, so that Starlette runs it in a thread: it may be slow
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # an invalid version in the header
            encode, content_type = choose_encoder("")
        names = request.query_params.getlist("name[]")
        if names:
            text = encode(self._registry.restricted_registry(names))
        else:
            text = render(self._registry, collectors.get(self._registry), encode, content_type)
        return Response(text, headers={"Content-Type": content_type})

    async def health(self, _request: Request) -> Response:
        if self._feed.is_listening:
            return Response(dumps({"status": "ok"}), media_type="application/json")
        return Response(dumps({"status": "the feed has ended"}), 503, media_type="application/json")

    async def login(self, request: Request) -> Response:
        name = cookie_name(request.scope)
        session = self._access.new_session(request.query_params.get("code", ""))
        if session is None and self._access.has_session(request.cookies.get(name)):
            session = request.cookies[name]  # the same browser uses the link again
        if session is None:
            wants_page = "text/html" in request.headers.get("accept", "")
            return refusal(401, "login link used or expired: get another one from the program", as_page=wants_page)
        # Not a redirect: a browser that comes from another site would not send a strict cookie along.
        response = HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0;url=./"><a href="./">go on</a>')
        response.set_cookie(
            name,
            session,
            max_age=int(SESSION_SECONDS),
            path=request.scope.get("root_path", "") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def _operations(self, query: Query) -> dict[str, Any]:
        feed, last, stores = self._feed, self._feed.ring.last, query.stores
        view = feed.view(query.processes)
        return {
            **view.current(stores, IN_FLIGHT),
            "last_event_id": feed.position(last),
            "recent": view.recent((), stores, KEPT)[0],
            "failures": view.failures((), stores, KEPT)[0],
        }

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._clients += 1
        try:
            async for piece in stream:
                yield piece
        finally:
            self._clients -= 1
