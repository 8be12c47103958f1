"""The text of the metrics, compared sample by sample with that of prometheus_client."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest, parser
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from encore_events import EventManager
from encore_storage.processes.cell_directory import Member, Reading
from encore_storage.subscribers import MetricsSubscriber
from encore_storage.subscribers.exposing import render
from encore_storage.subscribers.metrics import MetricsCollector, collectors
from encore_storage.subscribers.rendering import Renderer
from encore_storage.subscribers.series import Series
from tests.subscribers.support import SmallGroup, end, start
from tests.subscribers.test_scrape import run_scenario


def _parsed(module: Any, text: str) -> list[Metric]:
    return list(module.text_string_to_metric_families(text))


Parse = Callable[[str], list[Metric]]
FORMATS = {
    "text": ("", lambda text: _parsed(parser, text)),
    "openmetrics": (
        "application/openmetrics-text; version=1.0.0",
        lambda text: _parsed(openmetrics_parser, text),
    ),
    "any escaping": (
        "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8",
        lambda text: _parsed(openmetrics_parser, text),
    ),
}

both_formats = pytest.mark.parametrize(("accept", "parse"), FORMATS.values(), ids=FORMATS)


def collector_of(registry: CollectorRegistry) -> MetricsCollector:
    collector = collectors.get(registry)
    assert collector is not None
    return collector


def rendered(registry: CollectorRegistry, accept: str) -> tuple[str, str]:
    """Return our text of the registry, and that of prometheus_client."""
    encode, content_type = choose_encoder(accept)
    ours = render(registry, collector_of(registry), encode, content_type)
    return ours.decode(), encode(registry).decode()


@both_formats
def test_text_has_the_families_and_samples_of_prometheus_client(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber, accept: str, parse: Parse
) -> None:
    run_scenario(manager)
    manager.emit(start(store='quoted "\\\n', operation_id="still open"))
    manager.emit(end(store='quoted "\\\n', operation_id="\N{SNOWMAN}"))
    manager.emit(end(store='quoted "\\\n', duration=math.inf))

    ours, theirs = rendered(registry, accept)

    assert parse(ours) == parse(theirs)
    exemplars = [one.exemplar for family in parse(ours) for one in family.samples if one.exemplar]
    assert len(exemplars) == (8 if "openmetrics" in accept else 0)


@both_formats
def test_text_has_the_metrics_of_all_other_collectors(
    registry: CollectorRegistry, metrics: MetricsSubscriber, accept: str, parse: Parse
) -> None:
    Counter("mine", "One of the program.", ["who"], registry=registry).labels("I").inc(3)

    ours, theirs = rendered(registry, accept)

    assert {one.name: one for one in parse(ours)} == {one.name: one for one in parse(theirs)}
    assert ours.count("mine_total") == theirs.count("mine_total") > 0


@both_formats
def test_text_of_series_that_were_added_later_is_complete(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber, accept: str, parse: Parse
) -> None:
    for number in range(150):
        manager.emit(end(store=f"store {number}"))
        if number % 50 == 0:
            rendered(registry, accept)

    ours, theirs = rendered(registry, accept)

    assert parse(ours) == parse(theirs)


@both_formats
def test_registry_without_the_collector_has_the_text_of_prometheus_client(
    registry: CollectorRegistry, metrics: MetricsSubscriber, accept: str, parse: Parse
) -> None:
    collector = collector_of(registry)
    registry.unregister(collector)
    encode, content_type = choose_encoder(accept)

    assert render(registry, collector, encode, content_type) == encode(registry)
    assert render(registry, None, encode, content_type) == encode(registry)


@both_formats
def test_blocks_of_another_version_are_left_out(accept: str, parse: Parse) -> None:
    blocks = {
        ("+",): [1.0],
        ("+", "unknown", "a"): [1.0],
        ("+", "operation", "too", "few"): [1.0],
        ("+++>+", "operation", "s", "get", "read", "ok", "99", "-1", ""): [1.0, 2.0, 3.0, 4.0, 5.0],
        ("+", "key_change", "s", "delete"): [7.0],
        ("+", "moved", "\udc80", "get", "read"): [math.inf],
    }
    series = Series(Reading({}, (Member(1, 2, blocks),)), 0, "group")

    text = Renderer().render(series, openmetrics="openmetrics" in accept).decode()

    values = {
        one.name.removeprefix("encore_storage_") + "".join(one.labels.values()): one.value
        for family in parse(text + "# EOF\n" * ("openmetrics" in accept))
        for one in family.samples
    }
    assert values["key_changes_totaldeletes"] == values["encore_processesgroup"] + 6 == 7


@pytest.mark.parametrize("escaping", ["dots", "values"])
def test_names_that_prometheus_client_changes_are_left_to_it(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber, escaping: str
) -> None:
    manager.emit(end())

    accept = f"application/openmetrics-text; version=1.0.0; escaping={escaping}"
    if escaping not in choose_encoder(accept)[1]:
        pytest.skip("prometheus_client before 0.22 changes no names")

    ours, theirs = rendered(registry, accept)

    assert ours == theirs


def test_collected_metrics_are_those_of_the_encoder(registry: CollectorRegistry) -> None:
    with MetricsSubscriber(registry=registry, group=SmallGroup("shop")).connect(EventManager()):
        assert 'encore_processes{group="shop"} 1.0' in generate_latest(registry).decode()


def test_lines_are_those_of_prometheus_client_but_for_the_form_of_numbers(
    manager: EventManager, registry: CollectorRegistry, metrics: MetricsSubscriber
) -> None:
    run_scenario(manager)

    lines = [[line.rpartition(" ")[0] for line in text.splitlines()] for text in rendered(registry, "")]

    assert lines[0] == lines[1]
