"""The rules of Grafana's dashboard-linter for Prometheus, applied to every type of panel.

See https://github.com/grafana/dashboard-linter; some rules are stricter here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from promql_parser import Call, Expr, MatrixSelector, SubqueryExpr, VectorSelector

from tests.dashboards import promql

Dashboard = dict[str, Any]

SOURCES: Final = tuple({"type": "prometheus", "uid": uid} for uid in ("${datasource}", "$datasource"))
COUNTER_SUFFIXES: Final = ("_total", "_bucket", "_count", "_sum")
RANGES: Final[Mapping[str, tuple[str, frozenset[timedelta]]]] = {
    "rate": ("$__rate_interval", frozenset({promql.RATE_INTERVAL})),
    "irate": ("$__rate_interval", frozenset({promql.RATE_INTERVAL})),
    "increase": ("$__rate_interval or $__range", frozenset({promql.RATE_INTERVAL, promql.RANGE})),
}
ON_TIME_RANGE_CHANGE: Final = 2

# The ids of Grafana's units, from packages/grafana-data/src/valueFormats/categories.ts.
_UNIT_IDS: Final = """
    none string short percent percentunit humidity dB hex0x hex sci locale pixel accMS2 accFS2 accG degree radian grad
    arcmin arcsec areaM2 areaF2 areaMI2 flops mflops gflops tflops pflops eflops zflops yflops ppm conppb conngm3
    conngNm3 con\u03bcgm3 con\u03bcgNm3 conmgm3 conmgNm3 congm3 congNm3 conmgdL conmmolL currencyUSD currencyGBP
    currencyEUR currencyJPY currencyRUB currencyUAH currencyBRL currencyDKK currencyISK currencyNOK currencySEK
    currencyCZK currencyCHF currencyPLN currencyBTC currencymBTC currency\u03bcBTC currencyZAR currencyINR currencyKRW
    currencyIDR currencyPHP currencyVND bytes decbytes bits decbits kbytes deckbytes mbytes decmbytes gbytes decgbytes
    tbytes dectbytes pbytes decpbytes pps binBps Bps binbps bps KiBs Kibits KBs Kbits MiBs Mibits MBs Mbits GiBs
    Gibits GBs Gbits TiBs Tibits TBs Tbits PiBs Pibits PBs Pbits dateTimeAsIso dateTimeAsIsoNoDateIfToday dateTimeAsUS
    dateTimeAsUSNoDateIfToday dateTimeAsLocal dateTimeAsLocalNoDateIfToday dateTimeAsSystem dateTimeFromNow watt kwatt
    megwatt gwatt mwatt Wm2 voltamp kvoltamp voltampreact kvoltampreact watth watthperkg kwatth kwattm amph kamph
    mamph joule ev amp kamp mamp volt kvolt mvolt dBm ohm kohm Mohm farad \u00b5farad nfarad pfarad ffarad henry
    mhenry \u00b5henry lumens flowgpm flowcms flowcfs flowcfm litreh flowlpm flowmlpm lux forceNm forcekNm forceN
    forcekN Hs KHs MHs GHs THs PHs EHs massmg massg masslb masskg masst lengthmm lengthin lengthft lengthm lengthkm
    lengthmi pressurembar pressurebar pressurekbar pressurepa pressurehpa pressurekpa pressurehg pressurepsi radbq
    radci radgy radrad radsv radmsv radusv radrem radexpckg radr radsvh radmsvh radusvh rotrpm rothz rotrads rotdegs
    celsius fahrenheit kelvin hertz ns \u00b5s ms s m h d dtdurationms dtdurations dthms dtdhms timeticks clockms
    clocks cps ops reqps rps wps iops cpm opm rpm wpm mps mpm velocityms velocitykmh velocitymph velocityknot mlitre
    litre m3 Nm3 dm3 gallons bool bool_yes_no bool_on_off
    """
UNITS: Final = frozenset(_UNIT_IDS.split())


def panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield all panels except rows, including those in collapsed rows."""
    for panel in dashboard.get("panels") or []:
        if panel.get("type") != "row":
            yield panel
        yield from panels(panel)


def targets(dashboard: Dashboard) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all queries of all panels, each with its location in words."""
    for panel in panels(dashboard):
        for target in panel.get("targets") or []:
            yield f"{_title(panel)}, query {target.get('refId')} {target.get('expr')!r}", target


def variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return the variables of the dashboard, in order."""
    found: list[dict[str, Any]] = dashboard.get("templating", {}).get("list", [])
    return found


def values(dashboard: Dashboard) -> dict[str, str]:
    """Return the current values of the variables; a variable without one stands for its name."""
    found = {}
    for variable in variables(dashboard):
        is_constant = variable["type"] == "constant"
        current = variable["query"] if is_constant else variable.get("current", {}).get("value")
        first = current[0] if isinstance(current, list) and current else current
        usable = isinstance(first, str) and first not in ("", "$__all")
        found[variable["name"]] = first if usable else variable["name"]
    return found


def parse(query: str, dashboard: Dashboard) -> Expr:
    """Parse a query of the dashboard, or raise a ValueError."""
    known = values(dashboard)
    if undefined := promql.variables(query) - known.keys() - promql.STAND_INS.keys():
        raise ValueError(f"the dashboard has no variable {', '.join(sorted(undefined))}")
    return promql.parse(query, known)


def trees(dashboard: Dashboard) -> Iterator[tuple[str, Expr]]:
    """Yield the trees of all valid queries; target-promql reports the others."""
    for where, target in targets(dashboard):
        try:
            yield where, parse(target.get("expr") or "", dashboard)
        except ValueError:
            continue


def template_datasource(dashboard: Dashboard) -> Iterator[str]:
    sources = [variable for variable in variables(dashboard) if variable.get("type") == "datasource"]
    labels = ("Data source", "Prometheus data source")
    if not sources:
        yield "The dashboard has no variable of type 'datasource'."
    for source in sources:
        yield from _differences(source, name=("datasource",), query=("prometheus",), label=labels)


def template_for(name: str, dashboard: Dashboard) -> Iterator[str]:
    found = [variable for variable in variables(dashboard) if variable.get("name") == name]
    if not found:
        yield f"The dashboard has no variable {name!r}."
    for variable in found:
        yield from _differences(variable, type=("query",), datasource=SOURCES, label=(name.title(),))
        yield from _differences(variable, multi=(True,), includeAll=(True,), allValue=(".+",))


def template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for variable in _queried(dashboard):
        query = variable.get("query")
        text = query.get("query") if isinstance(query, dict) else query
        try:
            _check_variable_query(text or "", dashboard)
        except (ValueError, re.error) as error:
            yield f"Variable {variable.get('name')!r} has the query {text!r}: {error}."


def template_on_time_change_reload(dashboard: Dashboard) -> Iterator[str]:
    for variable in _queried(dashboard):
        yield from _differences(variable, refresh=(ON_TIME_RANGE_CHANGE,))


def panel_datasource(dashboard: Dashboard) -> Iterator[str]:
    located = [(_title(panel), panel) for panel in panels(dashboard)]
    for where, item in [*located, *targets(dashboard)]:
        if item.get("datasource") not in SOURCES:
            yield f"{where}: its data source should be {SOURCES[0]}, not {item.get('datasource')}."


def panel_title_description(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        for key in ("title", "description"):
            if not (panel.get(key) or "").strip():
                yield f"{_title(panel)} has no {key}."


def panel_units(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        config = panel.get("fieldConfig", {})
        settings = list(config.get("defaults", {}).items())
        for override in config.get("overrides", []):
            settings += [(each["id"], each.get("value")) for each in override.get("properties", [])]
        units = [value for key, value in settings if key == "unit" and value]
        reduced = panel.get("options", {}).get("reduceOptions", {})
        # Values shown as words need no unit. Grafana always writes a list of mappings, so an empty one does not count.
        words = ("mappings", True) in [(key, bool(value)) for key, value in settings]
        words = words or (panel.get("type") == "stat" and bool(reduced.get("fields")))
        if not units and not words:
            yield f"{_title(panel)} has no unit."
        yield from (f"{_title(panel)} has the unknown unit {unit!r}." for unit in units if unit not in UNITS)


def panel_no_targets(dashboard: Dashboard) -> Iterator[str]:
    return (f"{_title(panel)} has no queries." for panel in panels(dashboard) if not panel.get("targets"))


def target_promql(dashboard: Dashboard) -> Iterator[str]:
    for where, target in targets(dashboard):
        try:
            parse(target.get("expr") or "", dashboard)
        except ValueError as error:
            yield f"{where} is not valid PromQL: {error}."


def target_rate_interval(dashboard: Dashboard) -> Iterator[str]:
    for where, tree in trees(dashboard):
        for node, ancestors in promql.walk(tree):
            caller = ancestors[-1] if ancestors else None
            if isinstance(node, MatrixSelector | SubqueryExpr) and isinstance(caller, Call):
                advice, allowed = RANGES.get(caller.func.name, ("", {node.range}))
                if node.range not in allowed:
                    yield f"{where}: the range of {caller.func.name} should be {advice}."


def target_matcher(label: str, dashboard: Dashboard) -> Iterator[str]:
    for where, tree in trees(dashboard):
        for selector in promql.selectors(tree):
            if (label, "=~", f"${label}") not in selector.matchers:
                yield f'{where}: the selector of {selector.name!r} lacks {label}=~"${label}".'


def target_counter_agg(dashboard: Dashboard) -> Iterator[str]:
    for where, tree in trees(dashboard):
        for selector in promql.selectors(tree):
            names = re.findall(r"[\w:]+", selector.name)  # several if the name is a pattern
            if any(name.endswith(COUNTER_SUFFIXES) for name in names) and selector.ranged_by not in RANGES:
                yield f"{where}: the counter {selector.name!r} should be in rate, irate or increase over a range."


def uneditable_dashboard(dashboard: Dashboard) -> Iterator[str]:
    if dashboard.get("editable") is not False:  # the default is editable
        yield "The dashboard should say 'editable': false."


RULES: Final[Mapping[str, Callable[[Dashboard], Iterator[str]]]] = MappingProxyType(
    {
        "template-datasource": template_datasource,
        "template-job": partial(template_for, "job"),
        "template-instance": partial(template_for, "instance"),
        "template-label-promql": template_label_promql,
        "template-on-time-change-reload": template_on_time_change_reload,
        "panel-datasource": panel_datasource,
        "panel-title-description": panel_title_description,
        "panel-units": panel_units,
        "panel-no-targets": panel_no_targets,
        "target-promql": target_promql,
        "target-rate-interval": target_rate_interval,
        "target-job": partial(target_matcher, "job"),
        "target-instance": partial(target_matcher, "instance"),
        "target-counter-agg": target_counter_agg,
        "uneditable-dashboard": uneditable_dashboard,
    }
)


def _title(panel: dict[str, Any]) -> str:
    return f"Panel {panel.get('id')} {panel.get('title')!r}"


def _queried(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Return the variables with a query."""
    return (variable for variable in variables(dashboard) if variable.get("type") == "query")


def _differences(variable: dict[str, Any], **allowed: tuple[Any, ...]) -> Iterator[str]:
    for key, choices in allowed.items():
        if variable.get(key) not in choices:
            wanted = " or ".join(map(repr, choices))
            yield f"Variable {variable.get('name')!r} should have the {key} {wanted}, not {variable.get(key)!r}."


def _check_variable_query(text: str, dashboard: Dashboard) -> None:
    """Raise an error unless the text is a valid query of a variable."""
    found = re.fullmatch(r"(\w+)\((.*)\)", text.strip(), re.DOTALL)
    function, argument = found.groups() if found else ("", "")
    selector: str | None = None
    match function:
        case "label_values":
            parts = re.fullmatch(r"(?:(.+),)?\s*[A-Za-z_]\w*\s*", argument, re.DOTALL)
            if not parts:
                raise ValueError("label_values ends with the name of a label")
            selector = parts[1]
        case "label_names":
            selector = argument or None
        case "metrics":
            re.compile(argument)
        case "query_result":
            parse(argument, dashboard)
        case _:
            raise ValueError("it should be one call of label_names, label_values, metrics or query_result")
    if selector is not None and not isinstance(parse(selector, dashboard), VectorSelector):
        raise ValueError(f"{selector!r} is not a selector")
