"""PromQL in dashboards: Grafana's variables, and the tree of a query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

import promql_parser
from promql_parser import Call, Expr, MatchOp, MatrixSelector, ParenExpr, VectorSelector

# Unusual ranges, so that a parsed tree still shows which variable was there.
RATE_INTERVAL: Final = timedelta(seconds=7_654_321)
INTERVAL: Final = timedelta(seconds=7_654_323)
RANGE: Final = timedelta(seconds=7_654_329)


def _seconds(duration: timedelta) -> int:
    return duration // timedelta(seconds=1)


STAND_INS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "__rate_interval": f"{_seconds(RATE_INTERVAL)}s",
        "__rate_interval_ms": f"{_seconds(RATE_INTERVAL)}000",
        "__interval": f"{_seconds(INTERVAL)}s",
        "__interval_ms": f"{_seconds(INTERVAL)}000",
        "__range": f"{_seconds(RANGE)}s",
        "__range_s": f"{_seconds(RANGE)}",
        "__range_ms": f"{_seconds(RANGE)}000",
        "__from": "1700000000000",
        "__to": "1700000000001",
        "__dashboard": "dashboard",
        "__name": "name",
        "__org": "1",
        "__user": "1",
    }
)

# A name starts with a letter or an underscore, which excludes the $1 of label_replace.
_VARIABLE = re.compile(r"\$(?P<plain>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*)(?:\.[^:}]+)?(?::[^}]+)?\}")
_UNTOUCHED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|\#[^\n]*"""
_UNTOUCHED_OR_VARIABLE = re.compile(f"(?P<untouched>{_UNTOUCHED})|{_VARIABLE.pattern}")
_LEGEND_LABEL = re.compile(r"\{\{\s*(.+?)\s*\}\}")
# By their text, since they are not hashable.
_OPERATORS: Final = {
    str(MatchOp.Equal): "=",
    str(MatchOp.NotEqual): "!=",
    str(MatchOp.Re): "=~",
    str(MatchOp.NotRe): "!~",
}


class Matcher(NamedTuple):
    """One matcher of a selector, such as ``("job", "=~", "$job")``."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Selector:
    """One vector selector of a query, with its enclosing nodes, outermost first and without parentheses.

    Its name is the metric, or the pattern of its name, or empty.
    """

    name: str
    matchers: tuple[Matcher, ...]
    ancestors: tuple[Expr, ...]

    @property
    def ranged_by(self) -> str | None:
        """The function that takes a range of this selector, or None."""
        match self.ancestors[-2:]:
            case (Call() as call, MatrixSelector()):
                return call.func.name
        return None


def variables(query: str) -> frozenset[str]:
    """Return the names of Grafana's variables in a query, including its strings.

    >>> sorted(variables('sum(rate(a_total{job=~"$job", store=~"${store:regex}"}[$__rate_interval]))'))
    ['__rate_interval', 'job', 'store']
    """
    return frozenset(map(_name, _VARIABLE.finditer(query)))


def parsable(query: str, values: Mapping[str, str] = STAND_INS) -> str:
    """Replace the variables outside of strings that have a value.

    >>> parsable('rate(a_total{job=~"$job"}[$__rate_interval])')
    'rate(a_total{job=~"$job"}[7654321s])'
    >>> parsable("topk(${n:raw}, a)", {"n": "5"})
    'topk(5, a)'
    """

    def replacement(found: re.Match[str]) -> str:
        return found[0] if found["untouched"] else values.get(_name(found), found[0])

    return _UNTOUCHED_OR_VARIABLE.sub(replacement, query)


def runnable(query: str, values: Mapping[str, str]) -> str:
    """Replace every variable, as Grafana does; raise a KeyError for one without a value.

    >>> runnable('rate(a_total{job=~"$job"}[$__rate_interval])', {"job": ".+", "__rate_interval": "1m"})
    'rate(a_total{job=~".+"}[1m])'
    """
    return _VARIABLE.sub(lambda found: values[_name(found)], query)


def parse(query: str, values: Mapping[str, str] = MappingProxyType({})) -> Expr:
    """Parse a query, with these values for the dashboard's variables outside of strings.

    Raises:
        ValueError: the query is invalid.
    """
    tree: Expr = promql_parser.parse(parsable(query, {**STAND_INS, **values}))
    for node, _ in walk(tree):
        if isinstance(node, VectorSelector) and node.matchers.or_matchers:
            raise ValueError("'or' between matchers is not PromQL")  # the parser accepts it, for VictoriaMetrics
    return tree


def walk(tree: Expr) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """Yield every node except parentheses, with its enclosing nodes, outermost first.

    >>> for node, ancestors in walk(parse("sum((rate(a_total[$__rate_interval])))")):
    ...     print(len(ancestors), type(node).__name__)
    0 AggregateExpr
    1 Call
    2 MatrixSelector
    3 VectorSelector
    """
    found: list[tuple[Expr, tuple[Expr, ...]]] = []
    around: list[Expr] = []

    def enter(node: Expr) -> None:
        if not isinstance(node, ParenExpr):
            found.append((node, tuple(around)))
            around.append(node)

    def leave(node: Expr) -> None:
        if not isinstance(node, ParenExpr):
            around.pop()

    promql_parser.walk(tree, enter, leave)
    return iter(found)


def selectors(tree: Expr) -> Iterator[Selector]:
    """Yield every vector selector of a query, from left to right.

    >>> [one] = selectors(parse('rate(a_total{job=~"$job"}[5m])'))
    >>> one.name, one.ranged_by, one.matchers
    ('a_total', 'rate', (Matcher(label='job', operator='=~', value='$job'),))
    """
    for node, ancestors in walk(tree):
        if isinstance(node, VectorSelector):
            matchers = [Matcher(each.name, _OPERATORS[str(each.op)], each.value) for each in node.matchers.matchers]
            named = (value for label, operator, value in matchers if label == "__name__" and operator in ("=", "=~"))
            yield Selector(node.name or next(named, ""), tuple(matchers), ancestors)


def metric_names(tree: Expr) -> frozenset[str]:
    """Return the metrics of a query, or the patterns of their names.

    >>> sorted(metric_names(parse('a / on (store) group_left b{c="d"}')))
    ['a', 'b']
    """
    return frozenset(selector.name for selector in selectors(tree))


def legend_labels(legend: str) -> tuple[str, ...]:
    """Return the labels in a legend, in order.

    >>> legend_labels("{{operation}} of {{ store }}")
    ('operation', 'store')
    """
    return tuple(_LEGEND_LABEL.findall(legend))


def _name(found: re.Match[str]) -> str:
    return found["plain"] or found["braced"]
