"""Who may look: tokens, links that work once, sessions that end."""

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
    given = access.new_session(access.new_code())
    assert given is not None
    return given


def test_without_a_token_everybody_may_look() -> None:
    access = Access(None)

    assert access.allows(None, None)
    assert repr(access) == "<Access: open>"


def test_the_token_itself_lets_in_and_nothing_like_it(access: Access) -> None:
    assert access.allows("a-token-of-some-length", None)
    for other in (None, "", "a-token-of-some-lengt", "a-token-of-some-length ", "A-TOKEN-OF-SOME-LENGTH", "é"):
        assert not access.allows(other, None)


def test_the_token_is_never_shown(access: Access) -> None:
    assert repr(access) == "<Access: by token>"


def test_a_code_works_once(access: Access) -> None:
    code = access.new_code()

    assert access.new_session(code) is not None
    assert access.new_session(code) is None


def test_a_code_gets_too_old(access: Access, clock: Clock) -> None:
    code = access.new_code()
    clock.now += CODE_SECONDS + 1

    assert access.new_session(code) is None


def test_codes_that_nobody_used_are_forgotten(access: Access, clock: Clock) -> None:
    old = [access.new_code() for _ in range(10)]
    clock.now += CODE_SECONDS / 2
    young = access.new_code()
    clock.now += CODE_SECONDS / 2 + 1
    access.new_code()

    assert len(access._codes) == 2
    assert access.new_session(young) is not None
    assert not any(access.new_session(code) for code in old)


def test_codes_stay_in_one_place(access: Access, clock: Clock) -> None:
    codes = access._codes  # which other threads take from meanwhile
    access.new_code()
    clock.now += CODE_SECONDS + 1
    access.new_code()

    assert access._codes is codes


def test_a_session_lets_in_until_it_gets_too_old(access: Access, clock: Clock) -> None:
    given = session(access)

    assert access.allows(None, given)
    assert not access.allows(None, given + "x")
    clock.now += SESSION_SECONDS
    assert not access.allows(None, given)


def test_a_code_is_no_session_and_a_session_is_no_token(access: Access) -> None:
    code = access.new_code()

    assert not access.allows(code, code)
    assert not access.allows(session(access), None)


def test_the_oldest_session_has_to_go(access: Access) -> None:
    first, *_, last = [session(access) for _ in range(MAX_SESSIONS + 1)]

    assert not access.allows(None, first)
    assert access.allows(None, last)
