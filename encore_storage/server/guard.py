"""What every request has to pass, and every answer to carry: hosts, methods, tokens, and headers for browsers."""

from __future__ import annotations

import html
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from encore_storage.server.access import Access
from encore_storage.server.hosts import ip_address_of

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
"""The Content-Security-Policy: everything comes from here, and nothing is inline."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names under which a server is asked that listens on this machine alone."""

OPEN_PATHS = ("/login", "/healthz")
"""What can be asked without a token: it tells nothing."""

_ASK = "send the token as 'Authorization: Bearer ...', or log in with the link that the program has told"

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Lets through what is asked by its right name, with GET, by somebody who may look.

    The Host header is compared with the names that are allowed, so that no name which an attacker has pointed at
    this machine (DNS rebinding) reads anything.

    Args:
        app: what is guarded.
        access: who may look.
        hosts: the names and addresses that the server may be asked by, without a port. '0.0.0.0' or '::' among them
            stands for every address (rebinding takes a name), '*' for everything.
        open_to_all: where no token is asked for, whether others than this machine may look, too.
    """

    def __init__(self, app: ASGIApp, access: Access, hosts: Collection[str], *, open_to_all: bool = False) -> None:
        """Guard the application."""
        self._app = app
        self._access = access
        self._hosts = frozenset(_normal(host) for host in checked_hosts(hosts))
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let somebody else do so."""
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

        await (self._refusal(scope) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _host_of(headers.getlist("host"))
        if host is None or not self._allows(host):
            return refusal(400, "this server is not known by that Host: use one of its own names, or allow this one")
        if scope["method"] != "GET":
            return refusal(405, "there is nothing to change here: use GET", {"Allow": "GET"})
        if not scope["path"].isprintable():
            return refusal(404, "there is nothing of that name")  # nor should anybody try to open it
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._access.is_open and not (self._open_to_all or _is_near(scope)):
            return refusal(403, "without a token, only programs on this machine may look: serve with a token")
        if path in OPEN_PATHS or self._access.allows(_bearer_of(headers), _session_of(headers, cookie_name(scope))):
            return None
        return refusal(401, _ASK, {"WWW-Authenticate": "Bearer"}, as_page="text/html" in headers.get("accept", ""))

    def _allows(self, host: str) -> bool:
        if host in self._hosts or "*" in self._hosts:
            return True
        return ip_address_of(host) is not None and not self._hosts.isdisjoint({"0.0.0.0", "::"})  # noqa: S104 (compared with)


def cookie_name(scope: Scope) -> str:
    """The name of the cookie of a browser that is logged in: browsers don't tell the ports of a host apart."""
    _, port = scope.get("server") or ("", None)
    return f"encore_session_{port}"


def checked_hosts(hosts: Collection[str]) -> Collection[str]:
    """The names that are allowed.

    Raises:
        TypeError: it isn't a collection of them; a str would be one of letters.
    """
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        raise TypeError(f"allowed_hosts must be a list of names, not {hosts!r}")
    return hosts


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None, *, as_page: bool = False) -> Response:
    """An answer that says why there is no other: as JSON, or as a page for a person."""
    if as_page:
        text = f"<!doctype html><html lang=en><title>Encore</title><h1>Not yet</h1><p>{html.escape(sentence)}.</p>"
        return HTMLResponse(text, status, headers)
    return JSONResponse({"error": sentence}, status, headers)


async def missing(_request: Request, _error: Exception) -> Response:
    """The answer where there is nothing."""
    return refusal(404, "there is nothing of that name")


async def failed(_request: Request, _error: Exception) -> Response:
    """The answer where there should have been another; the error itself is logged by the server."""
    answer = refusal(500, "something is wrong here: the program's log says what")
    _add_headers(answer.headers)
    return answer


def _add_headers(headers: MutableHeaders) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")


def _is_near(scope: Scope) -> bool:
    """Whether who asks is on this machine; what has no address of the network is."""
    host, _ = scope.get("client") or ("", None)
    address = ip_address_of(host)
    return address is None or address.is_loopback


def _host_of(values: list[str]) -> str | None:
    """The name or address in a Host header, without its port; None where it isn't one."""
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
    return _normal(name)


def _normal(host: str) -> str:
    """The one way to write it, by which hosts are compared."""
    address = ip_address_of(host)
    return host.lower().rstrip(".") if address is None else str(address)


def _bearer_of(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _session_of(headers: Headers, name: str) -> str | None:
    # Not by http.cookies: that gives up on all of them where another program's cookie is not to its taste.
    return cookie_parser(headers.get("cookie", "")).get(name)
