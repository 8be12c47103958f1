"""The command that prints the report of a run, `python -m encore_storage.run DIRECTORY`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from encore_storage.run.document import document, write_document
from encore_storage.run.report import RunReport, read_report
from encore_storage.run.text import render


def main() -> int:
    """Print the report to stderr and write it as JSON. Return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m encore_storage.run", description="Prints what the processes of a run did with storage."
    )
    parser.add_argument("directory", type=Path, help="the directory in which the processes count")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the report as JSON to this file")
    parser.add_argument("--color", action="store_true", help="print bold headings and red errors")
    parser.add_argument("--seconds", type=float, metavar="WALL", help="the time that the program ran")
    parser.add_argument("--no-text", action="store_true", help="print nothing")
    options = parser.parse_args()
    # The report itself says which files cannot be read.
    logging.disable()
    if not options.directory.is_dir():
        sys.stderr.write(f"cannot read the summary in {str(options.directory)!r}: it is no directory\n")
        return 1
    report = read_report(options.directory)
    problem = "" if options.json is None else _write(options.json, report, options.seconds)
    text = "" if options.no_text else render(report, seconds=options.seconds, is_colored=options.color)
    if sys.stderr is not None:  # None if it is closed
        with contextlib.suppress(OSError):  # nobody reads it, or the disk is full
            sys.stderr.write(text + problem)
            sys.stderr.flush()
    return bool(problem)


def _write(path: Path, report: RunReport, seconds: float | None) -> str:
    """Write the summary as JSON, and return a line that says why if it cannot be written."""
    try:
        write_document(path, document(report, seconds))
    except OSError as error:
        return (
            f"encore run: cannot write the summary to {str(path)!r}: {error.strerror or error}; choose another path\n"
        )
    return ""


if __name__ == "__main__":
    sys.exit(main())
