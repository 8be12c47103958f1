"""The entry point of the command."""

from __future__ import annotations

import io
import sys

from encore_storage.cli.output import flush_output, print_error
from encore_storage.cli.status import INTERRUPTED, UNUSABLE


def main() -> None:
    """Run the `encore` command with the arguments of the process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if closed
            stream.reconfigure(errors="backslashreplace")  # a key or path may not be encodable
    try:
        from encore_storage.cli.app import run_command  # noqa: PLC0415 (typer and rich are an extra)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich", "click"}:
            raise
        print_error(f"{package} is missing: run pip install '.[cli]' in a clone of Encore")
        sys.exit(UNUSABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    status = run_command(sys.argv[1:])
    flush_output()
    sys.exit(status)
