"""Where the command begins and ends: what is missing, what went wrong, the exit status."""

from __future__ import annotations

import sys

INTERRUPTED = 130
UNUSABLE = 2
FAILED = 1


def main() -> None:
    """Run the `encore` command with the arguments of the process, and exit."""
    try:
        from encore_storage.cli.app import run  # noqa: PLC0415 (typer and rich are an extra)
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        sys.stderr.write(f"encore: {error.name} is missing: pip install 'encore-observability[cli]'\n")
        sys.exit(UNUSABLE)
    sys.exit(run(sys.argv[1:]))
