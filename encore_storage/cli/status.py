"""The exit statuses of the command."""

from __future__ import annotations

FAILED = 1
"""Something went wrong, or not all has arrived."""

UNUSABLE = 2
"""The arguments can't be used, or a part of the command isn't installed."""

INTERRUPTED = 130
"""Ctrl-C, as shells tell it: 128 and the number of the signal."""

CLOSED = 141
"""Nobody reads what it writes, as shells tell it: 128 and the number of the signal for a broken pipe."""
