"""The servers that the tests of dashboards and rules ask: that they start, answer, refuse and end as they should."""

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
    """A Prometheus whose one alert always fires, the Alertmanager that it tells, and whom that one tells."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: Webhook


def telling(address: str) -> dict[str, object]:
    """A configuration of an Alertmanager that tells a webhook at once."""
    receiver = {"name": "webhook", "webhook_configs": [{"url": address}]}
    return {"route": {"receiver": "webhook", "group_wait": "0s", "group_interval": "1s"}, "receivers": [receiver]}


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    with Webhook() as webhook, Alertmanager(telling(webhook.url)) as alertmanager:
        config = prometheus_config({}, rule_files=[rules], alertmanager=alertmanager.target)
        with Prometheus(config) as prometheus:
            yield Alerting(prometheus, alertmanager, webhook)


def test_an_alert_of_prometheus_reaches_whom_the_alertmanager_tells(alerting: Alerting) -> None:
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


def test_a_scalar_is_a_sample_without_labels(alerting: Alerting) -> None:
    assert alerting.prometheus.query("6 * 7") == [Sample({}, 42)]


def test_a_range_has_a_point_for_each_step(alerting: Alerting) -> None:
    (series,) = alerting.prometheus.query_range("vector(time())", 1000, 1020, 10)

    assert series.points == [(1000, 1000), (1010, 1010), (1020, 1020)]


def test_an_expression_is_asked_as_of_a_time(alerting: Alerting) -> None:
    assert alerting.prometheus.query("time()", at=1000) == [Sample({}, 1000)]


def test_what_prometheus_refuses_is_an_error_in_its_words(alerting: Alerting) -> None:
    with pytest.raises(ServerError, match="1:5: parse error: unclosed left parenthesis"):
        alerting.prometheus.query("sum(")


def test_what_the_alertmanager_refuses_is_an_error_in_its_words(alerting: Alerting) -> None:
    with pytest.raises(ServerError, match="bad matcher format"):
        alerting.alertmanager.ask("alerts", filter="nonsense")


def test_waiting_in_vain_says_what_there_was_instead(alerting: Alerting) -> None:
    with pytest.raises(AssertionError, match=r"after 0 s it still was \[\]"):
        alerting.prometheus.wait_for("nowhere", timeout=0)


def test_proxies_are_for_other_addresses(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert alerting.prometheus.query("1") == [Sample({}, 1)]


@pytest.mark.parametrize("server", [Prometheus, Alertmanager])
def test_a_server_that_cannot_start_shows_its_log(server: type[Server]) -> None:
    with pytest.raises(ServerError, match=r"(?s)ended with \d+.*yaml: line"), ExitStack() as stack:
        stack.enter_context(server("nonsense: ["))


def test_a_server_ends_with_a_test_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), Prometheus({}) as prometheus:
        assert fetch(f"{prometheus.address}/-/healthy")[0] == 200
        raise ZeroDivisionError

    with pytest.raises(URLError, match="refused"):
        fetch(f"{prometheus.address}/-/healthy")


def test_the_first_program_that_is_there_is_taken() -> None:
    assert binary("no-such-program", "sh", package="dash").endswith("/sh")


def test_a_program_that_is_missing_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENCORE_REQUIRE_SERVERS", raising=False)

    with pytest.raises(pytest.skip.Exception, match="no one or other is installed: apt-get install numbers"):
        binary("one", "other", package="numbers")


def test_a_program_that_is_missing_fails_the_test_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_REQUIRE_SERVERS", "1")

    with pytest.raises(pytest.fail.Exception, match="apt-get install numbers"):
        binary("one", package="numbers")
