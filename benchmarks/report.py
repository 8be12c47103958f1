"""The table of figures."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Figure

PEERS = (
    *("blinker", "botocore", "encore", "fsspec", "opentelemetry-instrumentation-botocore"),
    *("opentelemetry-instrumentation-sqlalchemy", "prometheus-client", "psygnal", "pyee", "sqlalchemy", "tqdm"),
)
HEADER = ("measured side by side", "ours", "peer", "ratio", "reach", "")
WIDTHS = (96, 10, 10, 8, 8, 5)


def heading() -> str:
    """Return the measured versions and the head of the table."""
    peers = ", ".join(f"{peer} {version(peer)}" for peer in PEERS)
    return f"Python {platform.python_version()} on {platform.machine()}; {peers}\n\n{_line(HEADER)}\n{_rule()}"


def row(figure: Figure) -> str:
    """Return the line of a figure."""
    reach = "" if figure.reach is None else f"≤ {figure.reach:g}"
    if figure.reach_us is not None:
        reach = f"≤ {figure.reach_us:g} µs"
    ratio = f"{figure.ratio:.4f}" if figure.ratio < 0.1 else f"{figure.ratio:.3f}"
    return _line((figure.name, _time(figure.ours), _time(figure.peer), ratio, reach, figure.verdict))


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as JSON, times in nanoseconds."""
    content = {
        "python": platform.python_version(),
        "peers": {peer: version(peer) for peer in PEERS},
        "figures": [{**asdict(figure), "verdict": figure.verdict} for figure in figures],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    name, *others = (cell for cell in cells)
    figures = (cell.rjust(width) for cell, width in zip(others, WIDTHS[1:], strict=True))
    return f"| {' | '.join((name.ljust(WIDTHS[0]), *figures))} |"


def _rule() -> str:
    return f"|{'|'.join(['-' * (WIDTHS[0] + 2), *('-' * (width + 1) + ':' for width in WIDTHS[1:])])}|"


def _time(nanoseconds: float) -> str:
    if abs(nanoseconds) < 10_000:
        return f"{nanoseconds:.1f} ns"
    if abs(nanoseconds) < 10_000_000:
        return f"{nanoseconds / 1e3:.1f} µs"
    return f"{nanoseconds / 1e6:.1f} ms"
