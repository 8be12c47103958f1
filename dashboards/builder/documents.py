"""What operators read, made from the same words as the panels and the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from dashboards.builder.alerts import Alert
from dashboards.builder.model import Board, Section

_DASHBOARDS = """\
# Dashboards and alerts

`encore dashboards DIRECTORY` writes what an operator needs: three Grafana dashboards, recording and alert rules for
Prometheus, provisioning files, the [runbook](runbook.md), and a compose file that ties it together with `encore demo`.

```console
$ encore dashboards monitoring
$ encore dashboards monitoring --objective 99.5 --latency-target 1
```

| file | what it is |
|---|---|
| `grafana/encore-overview.json`, `encore-store.json`, `encore-slo.json` | the dashboards, for Grafana 10 and later |
| `grafana/provisioning/` | the data source and the folder of dashboards, for Grafana's provisioning |
| `prometheus/encore-recording.yml`, `encore-alerts.yml` | the rules |
| `prometheus/prometheus.yml` | scrapes 127.0.0.1:9464, loads the rules, knows Alertmanager |
| `alertmanager/alertmanager.yml` | groups by alert, job and store; where alerts go is for you to fill in |
| `compose.yaml` | Prometheus, Alertmanager, Grafana and `encore demo --keep-serving`, together |
| `docs/runbook.md` | for each alert what it means and what to do |

## With what you have

- **Prometheus**: add `encore-recording.yml` and `encore-alerts.yml` to `rule_files`, and scrape your program's
  `monitor(port=...)`. Start it with `--enable-feature=exemplar-storage`, and the latency panels show single operations.
- **Grafana**: import the three JSON files, or provision them. The data source, jobs, instances and stores are chosen at
  the top. The SLO dashboard, and the error budget on the overview, need the recording rules. The data source that is
  provisioned is the default one: leave `provisioning/datasources` out where there is one already.
- **Alerts** carry `severity` (critical, warning, info), `job`, `store` where there is one, and `runbook_url`
  (`--runbook-url` says where your runbook is; by default `docs/runbook.md`, which is written, too). Those about all
  instances of a job together say `instance="all"`.
- `compose.yaml` starts all of it around a demonstration: `docker compose up`, then http://127.0.0.1:3000. Its parts are
  tested here one by one, and its YAML is checked; it was never started as a whole, since that takes a container engine.

## The objective

One objective holds for each store of each job: `--objective` per cent of its operations don't fail (99.9 by default),
and as many of its answers arrive within `--latency-target` seconds (0.5 by default, and always an edge of the
duration's buckets). A miss is an answer; what was cancelled does not count. What is missing from 100 is the error
budget of 30 days. A store with few operations spends its budget with a single failure, and its alerts say so: send
those of such stores elsewhere in Alertmanager, by their label `store`.

An alert fires when the budget is spent too fast both in a long window and in a short one: 14.4 times as fast as
allowed in 1h and 5m, 6 times in 6h and 30m, 3 times in 1d and 2h, once in 3d and 6h. (The method and the factors are
those of Google's *Site Reliability Workbook*, chapter 5.) The objective is built into the files; to change it, write
them again.

## What each panel answers
"""

_RUNBOOK = """\
# Runbook

For each of Encore's alerts: when it fires, what it means, and what to do. The `runbook_url` of an alert leads to its
paragraph.
"""


def dashboards(boards: Iterable[Board]) -> str:
    """The page of the dashboards: what there is, and which question each panel answers."""
    return "\n".join((_DASHBOARDS, *(line for board in boards for line in _board(board))))


def runbook(alerts: Iterable[Alert]) -> str:
    """The page of the alerts."""
    alike = [list(group) for _, group in groupby(alerts, lambda alert: alert.name)]
    return "\n".join((_RUNBOOK, *(line for group in alike for line in _alert(group))))


def _board(board: Board) -> Iterator[str]:
    yield f"### {board.title}\n"
    yield f"{board.description}\n"
    for section in board.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    each = ", for each operation" if section.repeat else ""
    yield f"**{section.title.replace('$', 'the ')}**{each}\n"
    yield "| panel | which question it answers | when it looks bad |"
    yield "|---|---|---|"
    yield from (f"| {panel.title} | {panel.answers} | {panel.when_bad} |" for panel in section.panels)
    yield ""


def _alert(alike: list[Alert]) -> Iterator[str]:
    first = alike[0]
    yield f"## {first.name}\n"
    for alert in alike:
        window = f" ({alert.labels['window']})" if "window" in alert.labels else ""
        holds = "at once" if alert.holds == "0m" else f"after {alert.holds}"
        yield f"- **{alert.severity}**{window}, {holds}: {alert.when}"
    yield f"\n**What it means.** {first.means}\n"
    yield f"**What to do.** {first.do}\n"
