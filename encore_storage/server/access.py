"""Authentication: a token for programs, and one-time login links for browsers."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from encore_storage.subscribers.errors import TokenError

MIN_TOKEN_LENGTH = 16
CODE_SECONDS = 600.0  # the lifetime of a login link
SESSION_SECONDS = 12 * 3600.0  # the lifetime of a session

Purpose = Literal["code", "session"]


def _boot() -> str:
    """Return the id of the machine's last boot, when monotonic seconds began; '' if the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return ""


class Access:
    """The token of a server, and the login codes and sessions that it signs.

    All processes with the same token and scope accept each other's codes and sessions, so that a browser stays logged
    in when another process of a group serves. Each of them accepts a code once.

    Args:
        token: what programs send as `Authorization: Bearer <token>`; None allows everybody.
        clock: monotonic seconds, for expiry; the same for all processes of a machine.
        scope: what the codes and sessions are valid for; by default, this server alone.

    Raises:
        TokenError: the token is too short, or cannot be sent in a header (a ValueError).
    """

    def __init__(
        self, token: str | None, clock: Callable[[], float] = time.monotonic, *, scope: str | None = None
    ) -> None:
        if token is not None and not isinstance(token, str):
            raise TypeError(f"token must be a str, not {type(token).__name__}")
        if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
            raise TokenError(f"token must be at least {MIN_TOKEN_LENGTH} printable ASCII characters")
        if token is not None and token != token.strip():
            raise TokenError("token must not begin or end with a space")
        self._token = token
        self._clock = clock
        self._key = f"{secrets.token_hex(16) if scope is None else scope}\0{token}\0{_boot()}".encode()
        self._used: dict[str, tuple[float, object]] = {}  # when codes expire that were used

    def __repr__(self) -> str:
        """Show whether a token is required, never the token."""
        return f"<Access: {'open' if self._token is None else 'by token'}>"

    @property
    def is_open(self) -> bool:
        """True if no token is required."""
        return self._token is None

    def new_code(self) -> str:
        """Return a login code, valid once within `CODE_SECONDS`."""
        return self._signed("code", CODE_SECONDS)

    def new_session(self, code: str) -> str | None:
        """Exchange a code for a session; None if the code is invalid, used or expired."""
        now = self._clock()
        for old, (expires, _) in list(self._used.items()):
            if now > expires:
                self._used.pop(old, None)
        if not self._is_signed("code", code):
            return None
        use = now + CODE_SECONDS, object()
        return self._signed("session", SESSION_SECONDS) if self._used.setdefault(code, use) is use else None

    def allows(self, bearer: str | None, session: str | None) -> bool:
        """Return whether the token or the session is valid, or none is required."""
        if self._token is None:
            return True
        if bearer is not None and hmac.compare_digest(bearer.encode(), self._token.encode()):
            return True
        return self.has_session(session)

    def has_session(self, session: str | None) -> bool:
        """Return whether the session exists and has not expired."""
        return session is not None and self._is_signed("session", session)

    def _signed(self, purpose: Purpose, seconds: float) -> str:
        """Return a random text that expires, with its signature."""
        text = f"{self._clock() + seconds:.3f}-{secrets.token_urlsafe(16)}"
        return f"{text}.{self._signature(purpose, text)}"

    def _is_signed(self, purpose: Purpose, signed: str) -> bool:
        """Return whether the text was signed for this purpose and has not expired."""
        text, _, signature = signed.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(purpose, text).encode()):
            return False
        with contextlib.suppress(ValueError):
            return self._clock() < float(text.partition("-")[0])
        return False

    def _signature(self, purpose: Purpose, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), "sha256").hexdigest()
