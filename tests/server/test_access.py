"""Tokens, one-time login codes and sessions, by themselves and over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from encore_events import EventManager
from encore_storage import monitor
from encore_storage.monitoring import Monitor
from encore_storage.server import create_app
from encore_storage.server.access import CODE_SECONDS, SESSION_SECONDS, Access
from encore_storage.subscribers.errors import TokenError
from tests.server.support import PATHS, POLICY, TOKEN, Response, fetch


@pytest.fixture(scope="module")
def guarded() -> Iterator[Monitor]:
    with monitor(EventManager(), logs=False, registry=CollectorRegistry(), port=0, token=TOKEN) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def closed(guarded: Monitor) -> str:
    """Return the page of a server with a token."""
    assert guarded.page is not None
    return guarded.page


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access("a-token-of-some-length", clock)


def session(access: Access) -> str:
    new = access.new_session(access.new_code())
    assert new is not None
    return new


def test_access_without_token_allows_everybody() -> None:
    access = Access(None)

    assert access.allows(None, None)
    assert repr(access) == "<Access: open>"


def test_access_allows_only_the_exact_token(access: Access) -> None:
    assert access.allows("a-token-of-some-length", None)
    for other in (None, "", "a-token-of-some-lengt", "a-token-of-some-length ", "A-TOKEN-OF-SOME-LENGTH", "é"):
        assert not access.allows(other, None)


def test_repr_hides_the_token(access: Access) -> None:
    assert repr(access) == "<Access: by token>"


def test_code_is_valid_once(access: Access) -> None:
    code = access.new_code()

    assert access.new_session(code) is not None
    assert access.new_session(code) is None


def test_code_expires(access: Access, clock: Clock) -> None:
    code = access.new_code()
    clock.now += CODE_SECONDS + 1

    assert access.new_session(code) is None


def test_used_codes_are_forgotten_once_they_have_expired(access: Access, clock: Clock) -> None:
    used = [access.new_code() for _ in range(10)]
    assert all(map(access.new_session, used))
    clock.now += CODE_SECONDS + 1
    access.new_session(access.new_code())

    assert len(access._used) == 1
    assert not any(map(access.new_session, used))


def test_code_that_two_threads_use_at_once_makes_one_session(access: Access) -> None:
    code = access.new_code()
    verified = threading.Barrier(2)
    verify = access._is_signed

    def wait(purpose: Any, signed: str) -> bool:
        verified.wait()
        return verify(purpose, signed)

    access._is_signed = wait  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(access.new_session, [code, code]))

    assert made.count(None) == 1


def test_processes_of_one_group_accept_each_others_codes_and_sessions(clock: Clock) -> None:
    first, second = (Access("a-token-of-some-length", clock, scope="group") for _ in range(2))

    assert second.has_session(first.new_session(second.new_code()))


@pytest.mark.parametrize(
    ("token", "scope"), [("another-token-of-some-length", "group"), ("a-token-of-some-length", "x")]
)
def test_other_tokens_and_groups_accept_nothing(token: str, scope: str, clock: Clock) -> None:
    access = Access("a-token-of-some-length", clock, scope="group")
    other = Access(token, clock, scope=scope)

    assert other.new_session(access.new_code()) is None
    assert not other.has_session(session(access))


@pytest.mark.parametrize("forged", ["", ".", "-", "1e999-x.0", "nan-x.", "a.b.c", "é.é", "2000.000-x." + "0" * 64])
def test_forged_codes_and_sessions_are_refused(forged: str, access: Access) -> None:
    assert access.new_session(forged) is None
    assert not access.has_session(forged)


def test_session_is_valid_until_it_expires(access: Access, clock: Clock) -> None:
    opened = session(access)

    assert access.allows(None, opened)
    assert not access.allows(None, opened + "x")
    clock.now += SESSION_SECONDS
    assert not access.allows(None, opened)


def test_code_is_no_session_and_session_is_no_token(access: Access) -> None:
    code = access.new_code()

    assert not access.allows(code, code)
    assert not access.allows(session(access), None)


def cookie_of(response: Response) -> str:
    return response.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "encore_session_80=guess"},
        {"Cookie": f"encore_session_80={TOKEN}"},
        {"Cookie": "encore_session_80"},
        {"Cookie": "\xff=;;;"},
    ],
)
def test_request_without_the_token_is_refused(closed: str, path: str, headers: dict[str, str]) -> None:
    port = str(urlsplit(closed).port)
    response = fetch(closed, path, headers={name: value.replace("_80", f"_{port}") for name, value in headers.items()})

    assert response.status == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-security-policy"] == POLICY
    assert "Authorization: Bearer" in response.error


def test_token_in_the_url_is_refused(closed: str) -> None:
    assert fetch(closed, f"/api/operations?token={TOKEN}").status == 401


def test_token_in_the_header_is_accepted(closed: str) -> None:
    assert fetch(closed, "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert fetch(closed, "/api/operations", headers={"Authorization": f"bearer {TOKEN}"}).status == 200


def test_health_needs_no_token(closed: str) -> None:
    assert fetch(closed, "/healthz").text == '{"status":"ok"}'


def test_login_link_logs_in_one_browser(guarded: Monitor, closed: str) -> None:
    link = guarded.new_login()
    assert link is not None
    path = link.removeprefix(closed.rstrip("/"))

    response = fetch(closed, path)
    morsel = SimpleCookie(response.headers["set-cookie"])[f"encore_session_{urlsplit(closed).port}"]

    assert response.status == 200
    assert morsel["httponly"]
    assert morsel["samesite"] == "strict"
    assert morsel["path"] == "/"
    assert TOKEN not in response.headers["set-cookie"]
    assert fetch(closed, "/api/operations", headers={"Cookie": cookie_of(response)}).status == 200
    assert fetch(closed, path).status == 401
    assert fetch(closed, path, headers={"Cookie": cookie_of(response)}).status == 200  # the same browser again
    refused = fetch(closed, path, headers={"Accept": "text/html"})
    assert (refused.status, refused.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "login link used or expired" in refused.text


@pytest.mark.parametrize("others", ['theme={"a":1}; ', "foo; ", "a=b c; "])
def test_session_is_found_beside_malformed_cookies(guarded: Monitor, closed: str, others: str) -> None:
    link = guarded.new_login()
    assert link is not None
    cookie = others + cookie_of(fetch(closed, link.removeprefix(closed.rstrip("/"))))

    assert fetch(closed, "/api/operations", headers={"Cookie": cookie}).status == 200


@pytest.mark.parametrize("path", ["/login", "/login?code=", "/login?code=guess", f"/login?code={TOKEN}"])
def test_login_refuses_invalid_codes(closed: str, path: str) -> None:
    response = fetch(closed, path)

    assert response.status == 401
    assert "set-cookie" not in response.headers


def test_login_without_a_token_is_refused(page: str) -> None:
    assert fetch(page, "/login").status == 401
    assert fetch(page, "/login?code=guess", headers={"Cookie": "encore_session_80=guess"}).status == 401


def test_session_is_valid_for_one_server(guarded: Monitor, closed: str, manager: EventManager) -> None:
    link = guarded.new_login()
    assert link is not None
    cookie = cookie_of(fetch(closed, link.removeprefix(closed.rstrip("/"))))

    with monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=TOKEN) as other:
        assert other.page is not None
        assert fetch(other.page, "/metrics", headers={"Cookie": cookie}).status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_monitor_on_a_reachable_host_requires_a_token(manager: EventManager, host: str) -> None:
    with pytest.raises(TokenError, match=r"pass token=\.\.\. with something like secrets\.token_urlsafe\(32\)"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, host=host)


@pytest.mark.parametrize("token", ["", "short", "é" * 20, "with a\nnewline in it"])
def test_monitor_refuses_short_and_unprintable_tokens(manager: EventManager, token: str) -> None:
    with pytest.raises(TokenError, match="at least 16 printable ASCII characters"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=token)


@pytest.mark.parametrize("token", [f" {TOKEN}", f"{TOKEN} "])
def test_monitor_refuses_tokens_with_outer_spaces(manager: EventManager, token: str) -> None:
    with pytest.raises(TokenError, match="must not begin or end with a space"):
        monitor(manager, logs=False, registry=CollectorRegistry(), port=0, token=token)


@pytest.mark.parametrize(
    ("client", "token", "open_to_all", "status"),
    [
        ("198.51.100.7", None, False, 403),
        ("198.51.100.7", None, True, 200),
        ("198.51.100.7", TOKEN, False, 401),
        ("127.0.0.1", None, False, 200),
        ("::1", None, False, 200),
        (None, None, False, 200),
    ],
)
def test_application_without_a_token_answers_local_clients_only(
    client: str | None, token: str | None, open_to_all: bool, status: int, manager: EventManager
) -> None:
    app = create_app(manager, token=token, open_to_all=open_to_all)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/api/operations",
        "query_string": b"",
        "root_path": "",
    }
    scope |= {"headers": [(b"host", b"localhost")], "client": client and (client, 1234), "server": ("203.0.113.5", 80)}
    sent = list[Any]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    app.state.feed.disconnect()

    assert sent[0]["status"] == status
