"""The arguments of `encore run`: its options, and the program with its own arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from encore_run.options import OPTIONS

_WIDTH = 80  # columns of the help; argparse would import shutil, also without --help, to ask the terminal

_DESCRIPTION = """\
Run a program as it would run alone, and observe its storage: S3, SQL, file systems and stores, in all its Python
processes. At its end, a summary goes to standard error. A .py file, -m and -c run with the Python of this command."""


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options, and the program with its arguments."""
    takes_value = {option.flag for option in OPTIONS if option.flag is not None and option.metavar is not None}
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            return list(arguments[:position]), list(arguments[position + 1 :])
        if word in ("-m", "-c") or not word.startswith("-"):
            break
        position += 2 if word in takes_value else 1
    return list(arguments[:position]), list(arguments[position:])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(
        "encore run",
        usage="%(prog)s [options] [--] program.py | -m module | -c code | command [arguments]",
        description=_DESCRIPTION,
        epilog="Each option can also be set by its variable.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH),
        allow_abbrev=False,
    )
    for option in OPTIONS:
        if option.flag is None:
            continue
        text = f"{option.help} ({option.variable})"
        if option.metavar is None:
            parser.add_argument(option.flag, dest=option.field, action="store_const", const="1", help=text)
        else:
            parser.add_argument(option.flag, dest=option.field, metavar=option.metavar, help=text)
    parser.add_argument(
        "--environment",
        action="store_true",
        help="print the variables with which a container observes its program without this command, and exit",
    )
    return parser
