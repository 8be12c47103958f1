"""The exit statuses of the command."""

from __future__ import annotations

FAILED = 1  # the command failed, or not everything was copied
UNUSABLE = 2  # the arguments are invalid, or a required package is missing
INTERRUPTED = 130  # Ctrl-C: 128 plus the number of the signal, as in shells
CLOSED = 141  # nobody reads the output: 128 plus the number of SIGPIPE, as in shells
