"""The command `encore dashboards`: what an operator needs, written to a directory, for any objective."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from encore_events.errors import EncoreError
from encore_storage.slo import Slo

RUNBOOK = "docs/runbook.md"
"""Where the runbook is written, and what the alerts say of where it is unless they are told otherwise."""


_LINKABLE = re.compile(r"[\w./~][\w./~:?&=%+@-]*")  # it stands in YAML as it is, and gets a fragment


class RunbookUrlError(EncoreError, ValueError):
    """The alerts can't link to such an address."""

    def __init__(self, runbook_url: str) -> None:
        """Say which `runbook_url` it was, and what is wrong with it."""
        super().__init__(
            f"a runbook at {runbook_url!r} can't be linked to: give a URL or a path, without spaces, quotes, brackets "
            "and without a fragment, since each alert adds its own"
        )
        self.runbook_url = runbook_url


@dataclass
class Written:
    """What became of the files, by their paths below the directory.

    Attributes:
        files: those that are there now as they should be.
        kept: those that were there, and are not what would have been written; they were left alone.
    """

    files: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def write_dashboards(directory: Path, slo: Slo, *, runbook_url: str = RUNBOOK, force: bool = False) -> Written:
    """Write everything; dashboards and rules anew, and what operators change only where it isn't yet, unless forced.

    Raises:
        RunbookUrlError: nothing can be linked to there (a ValueError).
        OSError: the directory, or a file in it, can't be written.
    """
    if not _LINKABLE.fullmatch(runbook_url):
        raise RunbookUrlError(runbook_url)
    written = Written()
    for name, source in sorted(_packaged()):
        text = _adapted(name, source.read_text(encoding="utf-8"), slo, runbook_url)
        path = directory / name
        if not (force or _is_built(name)) and path.exists() and path.read_bytes() != text.encode():
            written.kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.files.append(name)
    return written


def _packaged() -> Iterator[tuple[str, Traversable]]:
    """The files as they are built for the default objective: from the wheel, or from the checkout that is installed."""
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


def _is_built(name: str) -> bool:
    """Whether nobody but the builder writes the file."""
    return PurePosixPath(name).name.startswith("encore-")


def _adapted(name: str, text: str, slo: Slo, runbook_url: str) -> str:
    """The file for another objective than the default one: what the builder would have written."""
    if name.endswith(".json"):
        return _with_constants(text, {"objective": slo.objective_ratio, "latency_target": slo.latency_edge})
    default = Slo()
    return (
        text.replace(f"(1 - {default.objective_ratio})", f"(1 - {slo.objective_ratio})")
        .replace(f'le="{default.latency_edge}"', f'le="{slo.latency_edge}"')
        .replace(f"runbook_url: {RUNBOOK}#", f"runbook_url: {runbook_url}#")
    )


def _with_constants(text: str, values: dict[str, str]) -> str:
    """The dashboard with other values of its constants."""
    dashboard = json.loads(text)
    for variable in dashboard["templating"]["list"]:
        if variable["name"] in values:
            variable["query"] = values[variable["name"]]
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
