"""The command `encore dashboards`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from encore_storage.cli.errors import RunbookUrlError
from encore_storage.slo import Slo

RUNBOOK = "docs/runbook.md"  # its path below the directory, and the default URL in the alerts
_LINKABLE = re.compile(r"[\w./~][\w./~:?&=%+@-]*")  # unquoted in YAML, and a fragment is appended


@dataclass
class Written:
    """The result of `write_dashboards`, as paths below the directory.

    Attributes:
        files: files that are up to date.
        kept: existing files that differ, and were not replaced.
    """

    files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def write_dashboards(directory: Path, slo: Slo, *, runbook_url: str = RUNBOOK, force: bool = False) -> Written:
    """Write all files, but keep existing files that operators may have edited, unless `force` is true.

    Dashboards and rules are always replaced.

    Raises:
        RunbookUrlError: the alerts cannot link to `runbook_url` (a ValueError).
        OSError: a file cannot be written.
    """
    if not _LINKABLE.fullmatch(runbook_url):
        raise RunbookUrlError(runbook_url)
    written = Written()
    for name, source in sorted(_packaged()):
        text = _adapted(name, source.read_text(encoding="utf-8"), slo, runbook_url)
        path = directory / name
        is_built = path.name.startswith("encore-")  # only the builder writes such a file
        if not (force or is_built) and path.exists() and path.read_bytes() != text.encode():
            written.kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.files.append(name)
    return written


def _packaged() -> Iterator[tuple[str, Traversable]]:
    """Yield the files built for the default objective, from the installed wheel or else from the checkout."""
    wheel = files("encore_storage") / "dashboards"
    if wheel.is_dir():
        yield from _below(wheel)
        return
    checkout = Path(__file__).parents[2]
    for name in ("alertmanager", "grafana", "prometheus", "compose.yaml"):
        yield from _below(checkout / "dashboards" / name, name)
    yield RUNBOOK, checkout / RUNBOOK


def _below(place: Traversable, name: str = "") -> Iterator[tuple[str, Traversable]]:
    if place.is_file():
        yield name, place
        return
    for inner in place.iterdir():
        yield from _below(inner, str(PurePosixPath(name, inner.name)))


def _adapted(name: str, text: str, slo: Slo, runbook_url: str) -> str:
    """Return the file as the builder would write it for `slo`."""
    if name.endswith(".json"):
        return _with_constants(text, {"objective": slo.objective_ratio, "latency_target": slo.latency_edge})
    default = Slo()
    return (
        text.replace(f"(1 - {default.objective_ratio})", f"(1 - {slo.objective_ratio})")
        .replace(f'le="{default.latency_edge}"', f'le="{slo.latency_edge}"')
        .replace(f"runbook_url: {RUNBOOK}#", f"runbook_url: {runbook_url}#")
    )


def _with_constants(text: str, values: dict[str, str]) -> str:
    dashboard = json.loads(text)
    for variable in dashboard["templating"]["list"]:
        if variable["name"] in values:
            variable["query"] = values[variable["name"]]
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
