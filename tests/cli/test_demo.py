"""`encore demo`, run to its end, and serving until interrupted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.support import TIMEOUT, Result, finish, log_lines, start


class Demo(NamedTuple):
    """The results of both, the metrics served by the second and the log of the first."""

    plain: Result
    serving: Result
    scraped: str
    log: list[dict[str, Any]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {"TMPDIR": str(folder), "COLUMNS": "120"}
    plain = start("demo", "--keep", env=environment)
    serving, scraped = scrape_and_interrupt(start("demo", "--keep-serving", env=environment, interrupted=True))
    ended = finish(plain)
    yield Demo(ended, serving, scraped, log_lines(log_of(ended)))
    shutil.rmtree(folder)


def scrape_and_interrupt(process: subprocess.Popen[str]) -> tuple[Result, str]:
    """Scrape the metrics once the command only serves, and interrupt it."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        out = "".join(iter(process.stdout.readline, "serving until Ctrl-C\n"))
        with urllib.request.urlopen(metrics_of(out)) as response:
            scraped = response.read().decode()
        os.killpg(process.pid, signal.SIGINT)
        rest, err = process.stdout.read(), process.stderr.read()
        return Result(process.wait(TIMEOUT), out + rest, err), scraped


def metrics_of(out: str) -> str:
    (address,) = re.findall(r"^metrics: (http://127\.0\.0\.1:\d+/metrics)", out, re.MULTILINE)
    return str(address)


def log_of(result: Result) -> Path:
    (path,) = re.findall(r"^log: (.*)$", result.out, re.MULTILINE)
    return Path(path)


def sample(demo: Demo, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(demo.scraped)
    samples = [sample for family in families for sample in family.samples]
    (value,) = [one.value for one in samples if one.name == f"encore_storage_{name}" and one.labels == labels]
    return value


def test_demo_succeeds(demo: Demo) -> None:
    assert (demo.plain.status, demo.plain.err) == (0, "")


def test_copy_is_complete_and_identical(demo: Demo) -> None:
    ((copied, total),) = re.findall(r"([\d,]+) of ([\d,]+) copied, identical to the last byte", demo.plain.out)

    assert copied == total
    assert int(copied.replace(",", "")) > 500


def test_failed_batch_and_failed_order_are_rolled_back(demo: Demo) -> None:
    assert re.search(r"^commits: \d+, rollbacks: 2, errors: 0, in ", demo.plain.out, re.MULTILINE)
    assert "of its 50 keys, 0 are in the store" in demo.plain.out


def test_missing_key_is_a_miss(demo: Demo) -> None:
    assert "no value under key 'no/such/module.py' in store 'archive'" in demo.plain.out
    assert re.search(r"^ *archive +get +[\d,]+ +1 +0 ", demo.plain.out, re.MULTILINE)


def test_last_lines_are_the_summary_the_log_and_the_addresses(demo: Demo) -> None:
    first, *_, line, log, metrics, page = demo.plain.out.splitlines()
    address = metrics_of(demo.plain.out).removesuffix("metrics")

    assert line.startswith("commits: ")
    assert log.startswith("log: ")
    assert metrics == f"metrics: {address}metrics"
    assert Path(log.removeprefix("log: ")).is_file()
    assert page == f"page: {address} (closed at the end; --keep-serving keeps it open)"
    assert first == f"live page: {address}"


def test_log_has_the_rollback_and_the_miss(demo: Demo) -> None:
    rollback, _ = [line for line in demo.log if line["event"] == "store.transaction.rolled_back"]
    miss, _ = [line for line in demo.log if line.get("outcome") == "miss"]

    assert (rollback["store"], rollback["notes"], rollback["operations"]) == ("archive", "a batch that fails", 50)
    assert (miss["store"], miss["operation"], miss["key"]) == ("archive", "get", "no/such/module.py")


def test_observed_clients_are_in_the_output_the_log_and_the_metrics(demo: Demo) -> None:
    (s3,) = re.findall(r"^(s3:documents|memory) +get +51 +1 +0 ", demo.plain.out, re.MULTILINE)
    stores = {line.get("store") for line in demo.log if line["event"] == "store.operation.ended"}
    (_, rollback) = [line for line in demo.log if line["event"] == "store.transaction.rolled_back"]

    assert stores == {"library", "archive", s3, "orders"}
    assert (rollback["store"], rollback["notes"]) == ("orders", "an order that fails")
    assert sample(demo, "operation_duration_seconds_count", store=s3, operation="get", outcome="miss") == 1
    assert sample(demo, "transactions_total", store="orders", outcome="rolled_back") == 1


def test_no_server_is_left_behind(demo: Demo) -> None:
    assert log_of(demo.plain).parent.is_dir()
    assert list(log_of(demo.plain).parent.glob("seaweedfs-*")) == []


def test_log_has_the_slow_reader(demo: Demo) -> None:
    ends = [line for line in demo.log if line["event"] == "store.operation.ended" and line["operation"] == "get"]
    slowest = max(ends, key=lambda line: line["duration"])

    assert slowest["store"] == "archive"
    assert slowest["duration"] >= 2


def test_serving_demo_prints_the_page_last(demo: Demo) -> None:
    *_, page = demo.serving.out.splitlines()

    assert page == f"page: {metrics_of(demo.serving.out).removesuffix('metrics')}"


def test_serving_demo_serves_metrics_until_interrupted(demo: Demo) -> None:
    assert (demo.serving.status, demo.serving.err) == (0, "")
    assert sample(demo, "transactions_total", store="archive", outcome="rolled_back") == 1
    assert sample(demo, "operation_duration_seconds_count", store="archive", operation="get", outcome="miss") == 1


def test_serving_demo_runs_a_load_without_logging(tmp_path: Path) -> None:
    process = start("demo", "--keep-serving", env={"TMPDIR": str(tmp_path), "COLUMNS": "120"}, interrupted=True)
    assert process.stdout is not None
    out = "".join(iter(process.stdout.readline, "serving until Ctrl-C\n"))
    before = committed(metrics_of(out))
    log = re.sub(r" \(deleted at the end; --keep keeps it\)$", "", str(log_of(Result(0, out, ""))))
    logged = Path(log).stat().st_size
    while committed(metrics_of(out)) < before + 2:
        assert process.poll() is None
    size = Path(log).stat().st_size
    os.killpg(process.pid, signal.SIGINT)

    assert finish(process).status == 0
    assert size == logged
    assert list(tmp_path.iterdir()) == []


def test_error_removes_the_files(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = finish(start("demo", "--port", port, env={"TMPDIR": str(tmp_path)}))

    assert ended.status == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_removes_the_files(tmp_path: Path, number: signal.Signals) -> None:
    process = start("demo", env={"TMPDIR": str(tmp_path), "COLUMNS": "120"}, interrupted=True)
    assert process.stdout is not None
    for line in iter(process.stdout.readline, ""):
        if line.startswith("1. copies"):
            break
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)

    assert finish(process).status == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[number]
    assert list(tmp_path.iterdir()) == []


def committed(address: str) -> float:
    with urllib.request.urlopen(address) as response:
        families = text_string_to_metric_families(response.read().decode())
    samples = [sample for family in families for sample in family.samples]
    return sum(
        one.value
        for one in samples
        if one.name == "encore_storage_transactions_total" and one.labels["outcome"] == "committed"
    )
