"""Checks of every request (host, method, token), and security headers for every response."""

from __future__ import annotations

import html
from collections.abc import Collection

from encore_storage.subscribers.errors import MissingExtraError

try:
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.requests import Request, cookie_parser
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ModuleNotFoundError as error:
    raise MissingExtraError("serving a page", (error.name or "starlette").partition(".")[0], "server") from error

from encore_storage.codec.messages import short_repr
from encore_storage.server.access import Access
from encore_storage.server.hosts import ip_address_of

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
"""The Content-Security-Policy: everything from this server, nothing inline."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of a server that listens on this machine only
OPEN_PATHS = ("/login", "/healthz")  # need no token: they reveal nothing
MAX_HEADERS = 100  # of a request; browsers send 20, and proxies add some
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware that passes on authorized GET requests for an allowed host.

    The check of the Host header stops DNS rebinding: an attacker's name that resolves to this machine reads nothing.

    Args:
        app: the application to guard.
        access: the token and the sessions.
        hosts: the allowed names and addresses, without a port. '0.0.0.0' or '::' allows every address (rebinding
            needs a name), '*' everything.
        open_to_all: without a token, whether to answer other machines too.
    """

    def __init__(self, app: ASGIApp, access: Access, hosts: Collection[str], *, open_to_all: bool = False) -> None:
        self._app = app
        self._access = access
        self._hosts = frozenset(_normalized(host) for host in checked_hosts(hosts))
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        await (_refusal_of_headers(scope) or self._refusal(scope) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _host_of(headers.getlist("host"))
        if host is None or not self._allows(host):
            shown = short_repr(headers.get("host"))
            return refusal(400, f"unknown host {shown}: use a name of this server, or add it to allowed_hosts")
        if scope["method"] != "GET":
            return refusal(405, f"unsupported method {short_repr(scope['method'])}: use GET", {"Allow": "GET"})
        if not scope["path"].isprintable():
            return not_found(scope["path"])  # before a file of that name is opened
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._access.is_open and not (self._open_to_all or _is_local(scope)):
            return refusal(403, f"remote client {short_repr(scope['client'][0])} refused: serve with a token")
        if path in OPEN_PATHS or self._access.allows(_bearer_of(headers), _session_of(headers, cookie_name(scope))):
            return None
        advice = "send 'Authorization: Bearer <token>', or log in with the link of the program"
        as_page = "text/html" in headers.get("accept", "")
        return refusal(401, f"token missing or wrong: {advice}", {"WWW-Authenticate": "Bearer"}, as_page=as_page)

    def _allows(self, host: str) -> bool:
        if host in self._hosts or "*" in self._hosts:
            return True
        return ip_address_of(host) is not None and not self._hosts.isdisjoint({"0.0.0.0", "::"})  # noqa: S104 (a comparison)


def cookie_name(scope: Scope) -> str:
    """Return the name of the session cookie, with the port, since browsers share cookies across ports."""
    _, port = scope.get("server") or ("", None)
    return f"encore_session_{port}"


def checked_hosts(hosts: Collection[str]) -> Collection[str]:
    """Return the hosts. Raises TypeError unless they are a collection of names; a str would be one of letters."""
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        raise TypeError(f"allowed_hosts must be a list of names, not {hosts!r}")
    return hosts


def refusal(status: int, message: str, headers: dict[str, str] | None = None, *, as_page: bool = False) -> Response:
    """Return an error response: as JSON, or as a page for a person."""
    if as_page:
        text = f"<!doctype html><html lang=en><title>Encore</title><h1>Access denied</h1><p>{html.escape(message)}.</p>"
        return HTMLResponse(text, status, headers)
    return JSONResponse({"error": message}, status, headers)


def not_found(path: str) -> Response:
    """Return the response for an unknown path."""
    return refusal(404, f"unknown path {short_repr(path)}: use /, /events, /api/operations, /metrics or /healthz")


async def on_not_found(request: Request, _error: Exception) -> Response:
    """Handle an unknown path."""
    return not_found(request.scope["path"])


async def on_error(_request: Request, _error: Exception) -> Response:
    """Handle an error, which the server logs."""
    response = refusal(500, "internal error: see the log of the program")
    _add_headers(response.headers)
    return response


def _add_headers(headers: MutableHeaders) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")


def _refusal_of_headers(scope: Scope) -> Response | None:
    number = len(scope["headers"])
    if number <= MAX_HEADERS:
        return None
    return refusal(431, f"too many headers {number}: send at most {MAX_HEADERS}")


def _is_local(scope: Scope) -> bool:
    """Return whether the client is on this machine, or has no network address."""
    host, _ = scope.get("client") or ("", None)
    address = ip_address_of(host)
    return address is None or address.is_loopback


def _host_of(values: list[str]) -> str | None:
    """Return the name or address in the Host header, without its port; None if it is invalid."""
    if len(values) != 1:
        return None
    name, _, port = values[0].partition(":")
    if values[0].startswith("["):
        name, bracket, port = values[0][1:].partition("]")
        if not bracket or port[:1] not in {"", ":"}:
            return None
        port = port[1:]
    if port and not port.isdecimal():
        return None
    return _normalized(name)


def _normalized(host: str) -> str:
    address = ip_address_of(host)
    return host.lower().rstrip(".") if address is None else str(address)


def _bearer_of(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _session_of(headers: Headers, name: str) -> str | None:
    # Not http.cookies: it discards all cookies if one of another program is malformed.
    return cookie_parser(headers.get("cookie", "")).get(name)
