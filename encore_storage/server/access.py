"""Who may look: a token for programs, and links that can be used once for browsers."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable

from encore_storage.subscribers.errors import TokenError

SHORTEST_TOKEN = 16
"""How many characters a token has at least."""

CODE_SECONDS = 600.0
"""For how long a link can be used."""

SESSION_SECONDS = 12 * 3600.0
"""For how long a browser stays logged in."""

MAX_SESSIONS = 100
"""How many browsers are logged in at once; the one that came first has to go."""


class Access:
    """Tells those who may look from all others.

    Args:
        token: what programs send as `Authorization: Bearer <token>`; None lets everybody in.
        clock: monotonic seconds, for what expires.

    Raises:
        TokenError: the token could be guessed, or never be sent (a ValueError).
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Make it; nobody is logged in."""
        if token is not None and not isinstance(token, str):
            raise TypeError(f"a token is a str, not {type(token).__name__}")
        if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
            raise TokenError(f"a token is at least {SHORTEST_TOKEN} printable ASCII characters long")
        if token is not None and token != token.strip():
            raise TokenError("a token begins and ends with something else than a space")
        self._token = token
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def __repr__(self) -> str:
        """Whether a token is asked for, never which."""
        return f"<Access: {'open' if self._token is None else 'by token'}>"

    @property
    def is_open(self) -> bool:
        """Whether everybody may look."""
        return self._token is None

    def new_code(self) -> str:
        """A code for one browser to log in with, once, within ten minutes."""
        now = self._clock()
        for old, expires in list(self._codes.items()):
            if now > expires:
                self._codes.pop(old, None)
        code = secrets.token_urlsafe(32)
        self._codes[code] = now + CODE_SECONDS
        return code

    def new_session(self, code: str) -> str | None:
        """What the browser with this code is known by from now on; None where the code is not, or no longer, valid."""
        expires = self._codes.pop(code, None)
        if expires is None or self._clock() > expires:
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._clock() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def allows(self, bearer: str | None, session: str | None) -> bool:
        """Whether somebody with this token, or this session, may look."""
        if self._token is None:
            return True
        if bearer is not None and hmac.compare_digest(bearer.encode(), self._token.encode()):
            return True
        return self.has_session(session)

    def has_session(self, session: str | None) -> bool:
        """Whether a browser is logged in as that."""
        return session is not None and self._clock() < self._sessions.get(session, -1)
