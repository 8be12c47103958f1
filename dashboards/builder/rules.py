"""Rules as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import yaml

from dashboards.builder.alerts import Alert
from encore_storage.cli.dashboards import RUNBOOK

_HEAD = "# Built by `python -m dashboards.builder`; what is changed here is lost with the next build.\n"


class _Dumper(yaml.SafeDumper):
    """YAML that is meant to be read: in the order given, with lines that are not folded."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (whatever it is)
        """Say everything in its place, however often."""
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def rendered(groups: dict[str, Any]) -> str:
    """A rule file."""
    return _HEAD + yaml.dump(groups, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def alert_rules(alerts: Iterable[Alert]) -> dict[str, Any]:
    """The groups of alert rules: one for each name, since those of one name are one matter."""
    return {
        "groups": [
            {"name": f"encore-{anchor(name).removeprefix('encore')}", "rules": [_rule(alert) for alert in alike]}
            for name, alike in groupby(alerts, lambda alert: alert.name)
        ]
    }


def anchor(name: str) -> str:
    """Where in the runbook the alert's paragraph is."""
    return name.lower()


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.holds,
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOK}#{anchor(alert.name)}",
        },
    }
