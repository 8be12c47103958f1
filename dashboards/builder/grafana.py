"""Dashboards as classic Grafana JSON, built from `model` with Grafana's SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.builder.model import Board, Column, Kind, Panel, Query
from dashboards.builder.variables import ANNOTATIONS, DATASOURCE, variables
from encore_storage.slo import Slo

TAG = "encore"

Builder = Any  # the panel builders of the SDK share no base class


def render(board: Board, slo: Slo) -> str:
    """Return the dashboard as a JSON document."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .time(board.since, "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(variables(board, slo))
        .link(
            dashboard.DashboardLink("Encore")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .tooltip("Other dashboards, with the same time range and variables")
            .include_vars(True)
            .keep_time(True)
        )
    )
    for annotation in ANNOTATIONS:
        built.annotation(annotation)
    ids = iter(range(1, 1000))
    for section in board.sections:
        row = dashboard.Row(section.title).id(next(ids))
        built.with_row(row.repeat(section.repeat) if section.repeat else row)
        for panel in section.panels:
            built.with_panel(_panel(panel).id(next(ids)))
    document = json.loads(JSONEncoder(sort_keys=True).encode(built.build()))
    for item in (*document["links"], *document["annotations"]["list"]):
        del item["placement"]  # it hides links and annotations in a menu
    for variable in document["templating"]["list"]:
        variable["skipUrlSync"] = variable["type"] == "constant"  # an old URL would restore an old objective
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel) -> Builder:
    """Build the panel: its kind, then the properties common to all kinds."""
    built = _KINDS[panel.kind](panel)
    built.title(panel.title).description(panel.description).datasource(DATASOURCE)
    built.height(panel.height).span(panel.width).unit(panel.unit).no_value(panel.empty)
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        built.with_target(_target(panel, query, letter))
    if panel.lowest is not None and panel.kind != "heatmap" and not panel.logarithmic:
        built.min(panel.lowest)
    if panel.decimals is not None:
        built.decimals(panel.decimals)
    if panel.thresholds:
        steps = [models.Threshold(value=value, color=color) for value, color in panel.thresholds]
        built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    for name, color in panel.colours.items():
        built.override_by_name(name, [_property("color", {"mode": "fixed", "fixedColor": color})])
    return built


def _target(panel: Panel, query: Query, letter: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().datasource(DATASOURCE).expr(query.expr).ref_id(letter)
    if panel.kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    if panel.kind == "stat":  # a range query would show the last value, however old
        return target.instant().legend_format(query.legend or panel.title)
    if panel.kind == "heatmap":
        target.format(PromQueryFormat.HEATMAP)
    return target.range().legend_format(query.legend or panel.title).exemplar(query.exemplars)


def _stat(panel: Panel) -> Builder:
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    modes = common_models.BigValueTextMode
    text = modes.VALUE_AND_NAME if panel.has_several_series else modes.VALUE
    return (
        stat.Panel()
        .reduce_options(last)
        .text_mode(text)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    )


def _timeseries(panel: Panel) -> Builder:
    built = (
        timeseries.Panel()
        .legend(_legend(panel))
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
        .line_width(1)
        .fill_opacity(25 if panel.stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if panel.logarithmic:
        built.scale_distribution(common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10))
    if panel.thresholds:
        lines = common_models.GraphThresholdsStyleMode.DASHED
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(lines))
    return built


def _heatmap(panel: Panel) -> Builder:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .cell_values(heatmap.CellValues().unit("ops"))
        .show_legend()
    )


def _state_timeline(panel: Panel) -> Builder:
    texts = {
        value: models.ValueMappingResult(text=text, color=color, index=position)
        for position, (value, (text, color)) in enumerate(panel.states.items())
    }
    return (
        statetimeline.Panel()
        .mappings([models.ValueMap(options=texts)])
        .legend(_legend(panel))
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.8)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED))
    )


def _table(panel: Panel) -> Builder:
    """Build a table with a row for each label set and a column for each query."""
    letters = [key for key in panel.columns if key in ascii_uppercase]
    # Grafana names the column Value, or Value #A and so on if there are several queries.
    names = {key: f"Value #{key}" if len(letters) > 1 else "Value" for key in letters}
    headings = {names.get(key, key): column.name for key, column in panel.columns.items()}
    built = (
        table.Panel()
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: position for position, name in enumerate(headings)},
                    "renameByName": headings,
                },
            )
        )
        .sort_by([_sorting(panel, letters[0])])
    )
    for column in panel.columns.values():
        built.override_by_name(column.name, list(_column(column)))
    return built


def _sorting(panel: Panel, first: str) -> common.TableSortByFieldState:
    highest = common.TableSortByFieldState().display_name(panel.columns[first].name).desc(True)
    return common.TableSortByFieldState().display_name(panel.rising).desc(False) if panel.rising else highest


def _column(column: Column) -> Iterator[models.DynamicConfigValue]:
    yield _property("unit", column.unit)
    if column.link:
        yield _property("links", [{"title": "Show this store", "url": column.link}])


def _legend(panel: Panel) -> Builder:
    legend = common.VizLegendOptions().placement(common_models.LegendPlacement.BOTTOM)
    legend.show_legend(panel.has_several_series)
    if panel.kind != "timeseries":
        return legend.display_mode(common_models.LegendDisplayMode.LIST)
    return legend.display_mode(common_models.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])


def _property(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=name, value=value)


_KINDS: dict[Kind, Callable[[Panel], Builder]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "table": _table,
    "heatmap": _heatmap,
    "state-timeline": _state_timeline,
}
