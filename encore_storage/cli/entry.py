"""Where the command begins and ends: what is missing, what went wrong, the exit status."""

from __future__ import annotations

import io
import sys

from encore_storage.cli.output import complain, finish
from encore_storage.cli.status import INTERRUPTED, UNUSABLE


def main() -> None:
    """Run the `encore` command with the arguments of the process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")  # not every encoding has all that a key or a path has
    try:
        from encore_storage.cli.app import run  # noqa: PLC0415 (typer and rich are an extra)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich", "click"}:
            raise
        complain(f"{package} is missing: pip install 'encore-observability[cli]'")
        sys.exit(UNUSABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    status = run(sys.argv[1:])
    finish()
    sys.exit(status)
