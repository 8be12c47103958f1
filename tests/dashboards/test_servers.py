"""The server helpers: start, queries, errors and shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple
from urllib.error import URLError

import pytest

from tests.dashboards.servers import (
    Alertmanager,
    Prometheus,
    Sample,
    Server,
    ServerError,
    Webhook,
    binary,
    fetch,
    prometheus_config,
)

RULES = """
groups:
  - name: always
    rules:
      - record: one:plus:one
        expr: vector(1) + 1
      - alert: Always
        expr: one:plus:one == 2
        labels: {severity: critical}
        annotations: {summary: "{{ $value }} is two"}
"""


class Alerting(NamedTuple):
    """A Prometheus with an alert that always fires, its Alertmanager, and the webhook of that."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: Webhook


def notifying(address: str) -> dict[str, object]:
    """Return a configuration of an Alertmanager that notifies a webhook at once."""
    receiver = {"name": "webhook", "webhook_configs": [{"url": address}]}
    return {"route": {"receiver": "webhook", "group_wait": "0s", "group_interval": "1s"}, "receivers": [receiver]}


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    with Webhook() as webhook, Alertmanager(notifying(webhook.url)) as alertmanager:
        config = prometheus_config({}, rule_files=[rules], alertmanager=alertmanager.target)
        with Prometheus(config) as prometheus:
            yield Alerting(prometheus, alertmanager, webhook)


def test_alert_reaches_the_webhook(alerting: Alerting) -> None:
    post = alerting.webhook.wait_for(lambda post: post["status"] == "firing")

    (alert,) = post["alerts"]
    assert (alert["labels"], alert["annotations"]) == (
        {"alertname": "Always", "severity": "critical"},
        {"summary": "2 is two"},
    )
    assert [alert["labels"]["alertname"] for alert in alerting.prometheus.alerts()] == ["Always"]
    assert [alert["status"]["state"] for alert in alerting.alertmanager.alerts()] == ["active"]


def test_rules_are_evaluated(alerting: Alerting) -> None:
    assert alerting.prometheus.wait_for("one:plus:one") == [Sample({"__name__": "one:plus:one"}, 2)]
    assert [(rule["name"], rule["health"]) for rule in alerting.prometheus.rules()] == [
        ("one:plus:one", "ok"),
        ("Always", "ok"),
    ]


def test_scalar_is_a_sample_without_labels(alerting: Alerting) -> None:
    assert alerting.prometheus.query("6 * 7") == [Sample({}, 42)]


def test_range_has_a_point_for_each_step(alerting: Alerting) -> None:
    (series,) = alerting.prometheus.query_range("vector(time())", 1000, 1020, 10)

    assert series.points == [(1000, 1000), (1010, 1010), (1020, 1020)]


def test_query_at_a_given_time(alerting: Alerting) -> None:
    assert alerting.prometheus.query("time()", at=1000) == [Sample({}, 1000)]


def test_error_of_prometheus_is_raised(alerting: Alerting) -> None:
    with pytest.raises(ServerError, match="1:5: parse error: unclosed left parenthesis"):
        alerting.prometheus.query("sum(")


def test_error_of_the_alertmanager_is_raised(alerting: Alerting) -> None:
    with pytest.raises(ServerError, match="bad matcher format"):
        alerting.alertmanager.ask("alerts", filter="nonsense")


def test_timeout_shows_the_last_answer(alerting: Alerting) -> None:
    with pytest.raises(AssertionError, match=r"after 0 s it was still \[\]"):
        alerting.prometheus.wait_for("nowhere", timeout=0)


def test_proxies_are_bypassed(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert alerting.prometheus.query("1") == [Sample({}, 1)]


@pytest.mark.parametrize("server", [Prometheus, Alertmanager])
def test_failed_start_shows_the_log(server: type[Server]) -> None:
    with pytest.raises(ServerError, match=r"(?s)ended with \d+.*yaml: line"), ExitStack() as stack:
        stack.enter_context(server("nonsense: ["))


def test_failing_test_stops_the_server() -> None:
    with pytest.raises(ZeroDivisionError), Prometheus({}) as prometheus:
        assert fetch(f"{prometheus.address}/-/healthy")[0] == 200
        raise ZeroDivisionError

    with pytest.raises(URLError, match="refused"):
        fetch(f"{prometheus.address}/-/healthy")


def test_first_installed_program_is_used() -> None:
    assert binary("no-such-program", "sh", package="dash").endswith("/sh")


def test_missing_program_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENCORE_REQUIRE_SERVERS", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no one or other is installed: apt-get install numbers"):
        binary("one", "other", package="numbers")


def test_missing_program_fails_if_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_REQUIRE_SERVERS", "1")

    with pytest.raises(pytest.fail.Exception, match="apt-get install numbers"):
        binary("one", package="numbers")
