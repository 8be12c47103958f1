"""Variables and annotations of the dashboards."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef

from dashboards.builder.model import BLUE, RED, Board
from dashboards.builder.promql import FIRING, OBSERVED, of, of_target
from encore_storage.slo import Slo
from encore_storage.subscribers.catalogue import LABEL_OVERFLOW, OPERATION_DURATION, STORE_INFO

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

MATCH_ALL = ".+"

# The label overflow counter exists before any store is used.
_QUERIES = {
    "job": f"label_values({LABEL_OVERFLOW.name}, job)",
    "instance": f'label_values({LABEL_OVERFLOW.name}{{job=~"$job"}}, instance)',
    "store": f"label_values({of_target(STORE_INFO.name)}, store)",
    "operation": f"label_values({of(OPERATION_DURATION, suffix='_count')}, operation)",
}

Variable = Builder[models.VariableModel]


def variables(board: Board, slo: Slo) -> list[Variable]:
    """Return the variables: selections, hidden ones for repeated sections, and constants of the objective."""
    constants = {"objective": slo.objective_ratio, "latency_target": slo.latency_edge}
    expressions = " ".join(query.expr for panel in board.panels for query in panel.queries)
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        *(_choice(name) for name in ("job", "instance", "store")),
        *(_choice(name).hide(models.VariableHide.HIDE_VARIABLE) for name in _repeats(board)),
        *(
            dashboard.ConstantVariable(name).value(value)
            for name, value in constants.items()
            if f"${name}" in expressions
        ),
    ]


def _repeats(board: Board) -> list[str]:
    return [section.repeat for section in board.sections if section.repeat]


def _choice(name: str) -> dashboard.QueryVariable:
    all_option = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATASOURCE)
        .query(_QUERIES[name])
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(MATCH_ALL)
        .current(all_option)
    )


ANNOTATIONS = (
    dashboard.AnnotationQuery()
    .name("Restarts")
    .datasource(DATASOURCE)
    .enable(True)
    .icon_color(BLUE)
    .expr(f"changes({of_target('process_start_time_seconds')}[$__rate_interval]) > 0 {OBSERVED}")
    .title_format("Restart")
    .text_format("{{job}} {{instance}} has restarted")
    .tag_keys("job,instance"),
    dashboard.AnnotationQuery()
    .name("Firing alerts")
    .datasource(DATASOURCE)
    .enable(True)
    .icon_color(RED)
    .expr(FIRING)
    .title_format("{{alertname}}")
    .text_format("{{job}} {{store}} {{window}}")
    .tag_keys("severity,store"),
)
