"""The model of a dashboard, independent of Grafana's format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from encore_storage.subscribers.catalogue import CATALOGUE

Kind = Literal["stat", "timeseries", "table", "heatmap", "state-timeline"]

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL, with Grafana's variables.
        legend: name of the series, with placeholders such as {{label}}.
        exemplars: whether to show single operations as dots.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table, filled from a query or a label.

    Attributes:
        name: the heading.
        unit: a unit id of Grafana.
        link: target of its cells.
    """

    name: str
    unit: str = "string"
    link: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: the heading.
        answers: the question that it answers.
        when_bad: what to do if it looks bad.
        unit: a unit id of Grafana.
        queries: the queries, in the order of their letters.
        kind: the type of panel.
        width: in columns, of 24.
        height: in rows of 30 pixels.
        thresholds: pairs of lower bound and colour; the first bound is None.
        lowest: minimum of the axis.
        empty: text shown without data.
        stacked: whether to stack the series.
        columns: of a table, by label or query letter; labels first.
        rising: of a table, the column to sort by ascending; by default, the first query, descending.
        states: of a timeline, name and colour of each value.
        logarithmic: whether the axis is logarithmic.
        colours: of series, by name.
        decimals: number of decimals; by default, Grafana's choice.
    """

    title: str
    answers: str
    when_bad: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    thresholds: tuple[tuple[float | None, str], ...] = ()
    lowest: float | None = 0
    empty: str = "no data"
    stacked: bool = False
    columns: Mapping[str, Column] = field(default_factory=dict)
    rising: str = ""
    states: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    logarithmic: bool = False
    colours: Mapping[str, str] = field(default_factory=dict)
    decimals: int | None = None

    @property
    def has_several_series(self) -> bool:
        """True if there may be more than one series."""
        return len(self.queries) > 1 or any("{{" in query.legend for query in self.queries)

    @property
    def description(self) -> str:
        """The description that Grafana shows."""
        bounds = {bound for query in self.queries if (bound := _bound_of_quantiles(query.expr))}
        notes = (f"A percentile above {bound}, the last bucket, is shown as {bound}." for bound in sorted(bounds))
        return " ".join((self.answers, self.when_bad, *notes))


def _bound_of_quantiles(expr: str) -> str | None:
    """Return the upper edge of the last bucket from which a query computes quantiles, or None if it computes none."""
    found = re.search(r"histogram_quantile\([^{]*?\b(encore_\w+)_bucket\b", expr)
    if found is None:
        return None
    (metric,) = (one for one in CATALOGUE if one.name == found[1])
    return _IN_UNIT[metric.unit](metric.buckets[-1])


_IN_UNIT: Mapping[str, Callable[[float], str]] = {
    "seconds": lambda edge: f"{edge:g} s",
    "bytes": lambda edge: f"{edge / 1024**3:g} GiB",
}
"""The text of a bucket's edge, by the unit of its metric."""


@dataclass(frozen=True)
class Section:
    """A row of a dashboard and the panels below it.

    Attributes:
        title: the heading.
        panels: from left to right, and down.
        repeat: a variable; the section is repeated for each of its values.
    """

    title: str
    panels: tuple[Panel, ...]
    repeat: str = ""


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Attributes:
        uid: name of the file, and id in Grafana.
        title: the heading.
        description: its purpose.
        sections: from top to bottom.
        since: start of the initial time range, such as 'now-6h'.
    """

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]
    since: str = "now-3h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in reading order."""
        return tuple(panel for section in self.sections for panel in section.panels)
