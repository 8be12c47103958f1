"""Tokens, one-time login codes and sessions."""

from __future__ import annotations

import pytest

from encore_storage.server.access import CODE_SECONDS, MAX_SESSIONS, SESSION_SECONDS, Access


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


def test_expired_codes_are_removed(access: Access, clock: Clock) -> None:
    old = [access.new_code() for _ in range(10)]
    clock.now += CODE_SECONDS / 2
    young = access.new_code()
    clock.now += CODE_SECONDS / 2 + 1
    access.new_code()

    assert len(access._codes) == 2
    assert access.new_session(young) is not None
    assert not any(access.new_session(code) for code in old)


def test_codes_are_changed_in_place(access: Access, clock: Clock) -> None:
    codes = access._codes  # other threads hold this dict
    access.new_code()
    clock.now += CODE_SECONDS + 1
    access.new_code()

    assert access._codes is codes


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


def test_oldest_session_is_dropped_at_the_limit(access: Access) -> None:
    first, *_, last = [session(access) for _ in range(MAX_SESSIONS + 1)]

    assert not access.allows(None, first)
    assert access.allows(None, last)
