"""`python -m benchmarks`: measure every row and print the table. A slow row is marked, and not an error."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import (
    bus,
    clients,
    codec,
    event_streams,
    load,
    logs,
    metrics,
    operations,
    processes,
    progress,
    scrape,
    server,
    starting,
    streams,
)
from benchmarks.harness import measure
from benchmarks.report import heading, row, save


def main() -> None:
    """Run the benchmarks selected on the command line."""
    options = _parser().parse_args()
    benches = [
        *bus.benches(),
        *event_streams.benches(),
        *progress.benches(),
        *streams.benches(quick=options.quick),
        *operations.benches(),
        *metrics.benches(),
        *scrape.benches(),
        *logs.benches(),
        *load.benches(),
        *clients.benches(),
        *codec.benches(),
        *server.benches(),
        *processes.benches(),
        *starting.benches(),
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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare Encore with its peers in one table."
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="only rows with TEXT in their name")
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=60, help="rounds of each side (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="16 MiB instead of 64 for the row in which encore 0.8.0 takes seconds"
    )
    parser.add_argument("--json", metavar="PATH", type=Path, help="also write the figures as JSON")
    return parser


if __name__ == "__main__":
    main()
