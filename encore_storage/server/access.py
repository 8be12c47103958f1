"""Authentication: a token for programs, and one-time login links for browsers."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable

from encore_storage.subscribers.errors import TokenError

MIN_TOKEN_LENGTH = 16
CODE_SECONDS = 600.0  # the lifetime of a login link
SESSION_SECONDS = 12 * 3600.0  # the lifetime of a session
MAX_SESSIONS = 100  # the oldest is dropped for a new one


class Access:
    """The token, the login codes and the sessions of a server.

    Args:
        token: what programs send as `Authorization: Bearer <token>`; None allows everybody.
        clock: monotonic seconds, for expiry.

    Raises:
        TokenError: the token is too short, or cannot be sent in a header (a ValueError).
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        if token is not None and not isinstance(token, str):
            raise TypeError(f"token must be a str, not {type(token).__name__}")
        if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
            raise TokenError(f"token must be at least {MIN_TOKEN_LENGTH} printable ASCII characters")
        if token is not None and token != token.strip():
            raise TokenError("token must not begin or end with a space")
        self._token = token
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def __repr__(self) -> str:
        """Show whether a token is required, never the token."""
        return f"<Access: {'open' if self._token is None else 'by token'}>"

    @property
    def is_open(self) -> bool:
        """True if no token is required."""
        return self._token is None

    def new_code(self) -> str:
        """Return a login code, valid once within `CODE_SECONDS`."""
        now = self._clock()
        for old, expires in list(self._codes.items()):
            if now > expires:
                self._codes.pop(old, None)
        code = secrets.token_urlsafe(32)
        self._codes[code] = now + CODE_SECONDS
        return code

    def new_session(self, code: str) -> str | None:
        """Exchange a code for a session; None if the code is invalid, used or expired."""
        expires = self._codes.pop(code, None)
        if expires is None or self._clock() > expires:
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._clock() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def allows(self, bearer: str | None, session: str | None) -> bool:
        """Return whether the token or the session is valid, or none is required."""
        if self._token is None:
            return True
        if bearer is not None and hmac.compare_digest(bearer.encode(), self._token.encode()):
            return True
        return self.has_session(session)

    def has_session(self, session: str | None) -> bool:
        """Return whether the session exists and has not expired."""
        return session is not None and self._clock() < self._sessions.get(session, -1)
