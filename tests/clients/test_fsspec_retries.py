"""The retries of s3fs, which it makes above those of botocore, are attempts of its operations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent
from tests.clients.botocore_servers import KEY, SECRET, Proxy, fast_retries
from tests.clients.fsspec_support import check

s3fs = pytest.importorskip("s3fs")
DATA = bytes(range(256)) * 300


def make(url: str, attempts: int = 1) -> Any:
    """Return a file system whose client makes this number of attempts."""
    config = {"retries": {"mode": "standard", "total_max_attempts": attempts}}
    options = {"key": KEY, "secret": SECRET, "endpoint_url": url, "config_kwargs": config}
    return s3fs.S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture
def s3(proxy: Proxy, bucket: str, manager: EventManager, recorder: EventRecorder) -> Iterator[Any]:
    """Yield an observed file system whose client does not retry, with a file."""
    fs = make(proxy.url)
    fs.pipe_file(f"{bucket}/a", DATA)
    yield observe(fs, event_manager=manager)
    unobserve(fs)


def ends(recorder: EventRecorder) -> list[tuple[str | None, str, int, int]]:
    check(recorder)
    found = recorder.of(StoreProgressEndEvent)
    return [(end.operation, end.outcome, end.attempts, end.bytes) for end in found]


def test_throttled_calls_are_attempts(s3: Any, bucket: str, proxy: Proxy, recorder: EventRecorder) -> None:
    proxy.slow_downs = 2
    s3.pipe_file(f"{bucket}/b", DATA)
    s3.exists(f"{bucket}/b")
    with s3.open(f"{bucket}/a") as file:
        proxy.slow_downs = 1
        assert file.read() == DATA

    assert ends(recorder) == [("set", "ok", 3, len(DATA)), ("exists", "ok", 1, 0), ("get", "ok", 2, len(DATA))]


def test_body_that_breaks_off_is_an_attempt(s3: Any, bucket: str, proxy: Proxy, recorder: EventRecorder) -> None:
    proxy.cuts = [1000]
    assert s3.cat_file(f"{bucket}/a") == DATA

    assert ends(recorder) == [("get", "ok", 2, len(DATA))]


def test_retries_of_botocore_and_of_s3fs_are_summed(
    bucket: str, proxy: Proxy, manager: EventManager, recorder: EventRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_retries(monkeypatch)
    fs = observe(make(proxy.url, attempts=2), event_manager=manager)
    proxy.slow_downs = 3
    fs.pipe_file(f"{bucket}/a", DATA)
    unobserve(fs)

    assert len(proxy.requests) == 4
    assert ends(recorder) == [("set", "ok", 4, len(DATA))]


def test_function_of_s3fs_is_plain_once_no_file_system_is_observed(proxy: Proxy, manager: EventManager) -> None:
    plain = s3fs.core._error_wrapper
    one, equal = make(proxy.url), make(proxy.url)
    assert one == equal
    observe(one, event_manager=manager)
    observe(equal, event_manager=manager)
    unobserve(one)
    assert s3fs.core._error_wrapper is not plain
    unobserve(equal)

    assert s3fs.core._error_wrapper is plain


def test_missing_function_of_s3fs_is_logged(
    proxy: Proxy,
    bucket: str,
    manager: EventManager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    recorder: EventRecorder,
) -> None:
    monkeypatch.delattr(s3fs.core, "_error_wrapper")
    fs = make(proxy.url)
    with caplog.at_level(logging.WARNING):
        observe(fs, event_manager=manager)
    unobserve(fs)

    assert "cannot count the retries of s3fs" in caplog.text
    assert not hasattr(s3fs.core, "_error_wrapper")
