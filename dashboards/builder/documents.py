"""The documents for operators, generated from the panels and the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from dashboards.builder.alerts import Alert
from dashboards.builder.model import Board, Section

_DASHBOARDS = """\
# Dashboards and alerts

`encore dashboards DIRECTORY` writes three Grafana dashboards, recording and alert rules for Prometheus, provisioning
files, the [runbook](runbook.md), and a compose file that runs all of it with `encore demo`.

```console
$ encore dashboards monitoring
$ encore dashboards monitoring --objective 99.5 --latency-target 1
```

| file | content |
|---|---|
| `grafana/encore-overview.json`, `encore-store.json`, `encore-slo.json` | dashboards for Grafana 10 and later |
| `grafana/provisioning/` | data source and dashboard folder for Grafana's provisioning |
| `prometheus/encore-recording.yml`, `encore-alerts.yml` | recording and alert rules |
| `prometheus/prometheus.yml` | scrapes 127.0.0.1:9464, loads the rules, sends alerts to Alertmanager |
| `alertmanager/alertmanager.yml` | groups alerts by name, job and store; add your own receivers |
| `compose.yaml` | Prometheus, Alertmanager, Grafana and `encore demo --keep-serving` |
| `docs/runbook.md` | meaning of each alert, and what to do |

## With an existing installation

- **Prometheus**: add `encore-recording.yml` and `encore-alerts.yml` to `rule_files`, and scrape your program's
  `monitor(port=...)`. With `--enable-feature=exemplar-storage`, the latency panels show single operations.
- **Grafana**: import the three JSON files, or provision them. Select the data source, jobs, instances and stores at the
  top. The SLO dashboard, and the error budget on the overview, need the recording rules. The provisioned data source is
  the default one: omit `provisioning/datasources` if you already have one.
- **Alerts** have the labels `severity` (critical, warning, info), `job` and, if they concern one store, `store`. Alerts
  about a whole job have `instance="all"`. Their `runbook_url` is `docs/runbook.md` unless you set `--runbook-url`.
- `compose.yaml` runs everything with a demonstration: `docker compose up`, then open http://127.0.0.1:3000. It installs
  Encore from a wheel beside it, or else from a clone in the directory above. To make the wheel, run
  `pip wheel --no-deps --wheel-dir DIRECTORY .` in a clone. The tests check its parts, its YAML and its command, but
  never start it as a whole, which would need a container engine.

## The objective

The same objective applies to each store of each job: `--objective` percent of its operations succeed (99.9 by default),
and the same percentage of its answers take at most `--latency-target` seconds (0.5 by default; it must be a bucket
bound of the duration histogram). A miss is an answer; cancelled operations do not count. The rest to 100 is the error
budget of 30 days. A store with few operations may spend its budget with a single failure and fire alerts; route the
alerts of such stores separately in Alertmanager, by the label `store`.

An alert fires when the budget is spent too fast in both a long and a short window: 14.4 times as fast as allowed in
1h and 5m, 6 times in 6h and 30m, 3 times in 1d and 2h, once in 3d and 6h. (Method and factors are from Google's *Site
Reliability Workbook*, chapter 5.) The files contain the objective; to change it, run the command again.

## Panels

Percentiles are computed from the buckets of histograms. One above the last bucket (60 s for durations, 5 GiB for sizes)
reads as the edge of that bucket, as the description of its panel says. The [live page](page.md) has no last bucket.
"""

_RUNBOOK = """\
# Runbook

When each of Encore's alerts fires, what it means, and what to do. The `runbook_url` of an alert links to its paragraph.
"""


def dashboards(boards: Iterable[Board]) -> str:
    """Return the page about the dashboards and their panels."""
    return "\n".join((_DASHBOARDS, *(line for board in boards for line in _board(board))))


def runbook(alerts: Iterable[Alert]) -> str:
    """Return the page about the alerts."""
    groups = [list(group) for _, group in groupby(alerts, lambda alert: alert.name)]
    return "\n".join((_RUNBOOK, *(line for group in groups for line in _alert(group))))


def _board(board: Board) -> Iterator[str]:
    yield f"### {board.title}\n"
    yield f"{board.description}\n"
    for section in board.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    each = ", for each operation" if section.repeat else ""
    yield f"**{section.title.replace('$', 'the ')}**{each}\n"
    yield "| panel | question | if it looks bad |"
    yield "|---|---|---|"
    yield from (f"| {panel.title} | {panel.answers} | {panel.when_bad} |" for panel in section.panels)
    yield ""


def _alert(rules: list[Alert]) -> Iterator[str]:
    first = rules[0]
    yield f"## {first.name}\n"
    for alert in rules:
        window = f" ({alert.labels['window']})" if "window" in alert.labels else ""
        holds = "at once" if alert.holds == "0m" else f"after {alert.holds}"
        yield f"- **{alert.severity}**{window}, {holds}: {alert.when}"
    yield f"\n**What it means.** {first.means}\n"
    yield f"**What to do.** {first.do}\n"
