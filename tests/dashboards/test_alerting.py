"""One alert from end to end: a store breaks, Prometheus fires, Alertmanager notifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.dashboards.conftest import RULES, fast_rules
from tests.dashboards.scenario_process import Scenario
from tests.dashboards.servers import Alertmanager, Prometheus, Webhook, prometheus_config

SHIPPED = RULES.parent / "alertmanager" / "alertmanager.yml"
BURNING = 'ALERTS{alertname="EncoreErrorBudgetBurn", store="archive", window="5m/1h"}'


def alertmanager_config(webhook: str) -> dict[str, Any]:
    """Return the shipped configuration with a receiver and without the grouping delay."""
    config: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    config["receivers"][0]["webhook_configs"] = [{"url": webhook}]
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    return config


def is_about_the_archive(post: dict[str, Any]) -> bool:
    return bool(post["groupLabels"] == {"alertname": "EncoreErrorBudgetBurn", "job": "encore", "store": "archive"})


def test_broken_store_notifies_the_webhook(tmp_path: Path) -> None:
    with (
        Webhook() as webhook,
        Alertmanager(alertmanager_config(webhook.url)) as alertmanager,
        Scenario() as scenario,
        Prometheus(
            prometheus_config(
                {"encore": [scenario.target]}, rule_files=fast_rules(tmp_path), alertmanager=alertmanager.target
            )
        ) as prometheus,
    ):
        prometheus.wait_for('job_store:encore_storage_operation_errors:ratio_rate1h{store="archive"} == 0')
        assert prometheus.query(BURNING) == []
        scenario.send("break archive")
        post = webhook.wait_for(is_about_the_archive)

    alert = next(one for one in post["alerts"] if one["labels"]["window"] == "5m/1h")
    assert (post["status"], alert["labels"]["severity"], alert["labels"]["instance"]) == ("firing", "critical", "all")
    assert alert["annotations"]["summary"] == "Store archive of encore fails too often for its objective"
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#encoreerrorbudgetburn"
