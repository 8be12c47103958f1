"""What a dashboard is made of, before Grafana's way of writing it: sections of panels, each with its question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["stat", "timeseries", "table", "heatmap", "state-timeline"]

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL, with Grafana's variables.
        legend: what its series are called, with {{label}} for their labels.
        exemplars: whether single operations are shown, as dots on the lines.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table, made of one query each or of a label.

    Attributes:
        name: its heading.
        unit: a unit id of Grafana.
        link: where its cells lead to.
    """

    name: str
    unit: str = "string"
    link: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel, and why it is there.

    Attributes:
        title: what it shows.
        answers: which question it answers.
        when_bad: what to do when it looks bad.
        unit: a unit id of Grafana.
        queries: what it asks.
        kind: how it looks.
        width: columns of 24.
        height: rows of 30 pixels.
        thresholds: colours from a value on; the first one has no value.
        lowest: where the axis begins.
        empty: what a panel says where there is nothing to show.
        stacked: whether the series add up to something.
        columns: of a table: labels first by their names, then a column for each query.
        rising: of a table: the column whose lowest comes first; by default, the highest of the first query.
        states: of a timeline: what its values are called, and their colours.
        logarithmic: whether the axis is.
        colours: of series whose names say what they are, by name.
        decimals: how many are shown; by default, as many as the value needs.
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
        """Whether there may be more than one series: where they are named by what they are of."""
        return len(self.queries) > 1 or any("{{" in query.legend for query in self.queries)

    @property
    def description(self) -> str:
        """What Grafana shows behind the panel's i."""
        return f"{self.answers} {self.when_bad}"


@dataclass(frozen=True)
class Section:
    """A row of a dashboard and the panels below it.

    Attributes:
        title: the heading.
        panels: from left to right, and down.
        repeat: the variable for each value of which the section stands again.
    """

    title: str
    panels: tuple[Panel, ...]
    repeat: str = ""


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Attributes:
        uid: its file's name and its address in Grafana.
        title: its name.
        description: what it is for, in a sentence or two.
        sections: from top to bottom.
        since: the time range that it opens with, as in 'now-6h'.
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
