"""`python -m benchmarks`: measure every row and print the table. A slow row is said, never an error."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import bus, codec, metrics, progress, server, streams
from benchmarks.harness import measure
from benchmarks.report import heading, row, save


def main() -> None:
    """Run what the command line asks for."""
    options = _parser().parse_args()
    benches = [
        *bus.benches(),
        *progress.benches(),
        *streams.benches(quick=options.quick),
        *metrics.benches(),
        *codec.benches(),
        *server.benches(),
    ]
    print(heading(), flush=True)  # noqa: T201 (the table is the product)
    figures = []
    for bench in benches:
        if options.only.lower() in bench.name.lower():
            figures.append(measure(bench, options.rounds))
            print(row(figures[-1]), flush=True)  # noqa: T201 (as above)
    if options.json:
        save(figures, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside the peers, one table.")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the rows whose name contains TEXT")
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=60, help="rounds of each side (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="16 MiB instead of 64 where encore 0.8.0 takes seconds")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the figures as JSON, too")
    return parser


if __name__ == "__main__":
    main()
