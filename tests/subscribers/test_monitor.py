"""`monitor()`: defaults, options, closing, errors."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
import structlog
from prometheus_client import CollectorRegistry
from rich.console import Console

import encore_events.default
from encore_events import EventManager
from encore_storage.monitoring import Monitor, monitor
from encore_storage.stores import DictMemoryStore
from encore_storage.subscribers import LogSubscriber, MetricsSubscriber, ProgressBars
from encore_storage.subscribers.errors import AddressError
from tests.forking import until
from tests.subscribers.support import sample

NO_LISTENERS = "<EventManager: 0 listeners>"


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> Any:
    return structlog.wrap_logger(structlog.WriteLogger(stream), processors=[structlog.processors.JSONRenderer()])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another socket listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def sets(registry: CollectorRegistry, store: str = "archive") -> float | None:
    return sample(registry, "operation_duration_seconds_count", store=store, operation="set", outcome="ok")


def test_monitor_logs_and_counts_even_if_nobody_keeps_it(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore, logger: Any, stream: io.StringIO
) -> None:
    monitor(manager, logs=logger, registry=registry)
    gc.collect()

    store.from_bytes("a", b"1")

    assert sets(registry) == 1
    assert "store.operation.ended" in stream.getvalue()


def test_monitor_defaults_to_structlog_and_the_global_registry(
    monkeypatch: pytest.MonkeyPatch, manager: EventManager
) -> None:
    monkeypatch.setattr(encore_events.default, "_default", {"manager": manager})
    store = DictMemoryStore(name="of the default event manager")

    with structlog.testing.capture_logs() as lines, monitor() as observed:
        store.from_bytes("a", b"1")
    structlog.reset_defaults()

    assert observed.event_manager is manager
    assert sets(prometheus_client.REGISTRY, store.name) == 1
    assert "store.operation.ended" in {line["event"] for line in lines}


def test_disabled_subscribers_do_not_listen(manager: EventManager, registry: CollectorRegistry) -> None:
    monitor(manager, logs=False, metrics=False, progress=False, registry=registry)

    assert repr(manager) == NO_LISTENERS
    assert list(registry.collect()) == []


@pytest.mark.parametrize("option", ["logs", "metrics", "progress"])
@pytest.mark.parametrize("given", ["x", None, 1])
def test_monitor_refuses_other_types(
    option: str, given: Any, manager: EventManager, registry: CollectorRegistry
) -> None:
    with pytest.raises(TypeError, match=f"{option} must be True, False or a .*, not {given!r}"):
        monitor(manager, **{"logs": False, "registry": registry, option: given})

    assert repr(manager) == NO_LISTENERS


@pytest.mark.parametrize("given", ["fsspec", b"x", 5, None, json])
def test_monitor_refuses_other_targets_than_a_list(given: Any, manager: EventManager) -> None:
    kind = type(given).__name__
    with pytest.raises(TypeError, match=rf"observe must be True, False or a list of .*, not an object of '{kind}'"):
        monitor(manager, logs=False, metrics=False, observe=given)

    assert repr(manager) == NO_LISTENERS


def test_monitor_refuses_none_among_the_targets(manager: EventManager) -> None:
    with pytest.raises(TypeError, match="without None: pass True to observe every library"):
        monitor(manager, logs=False, metrics=False, observe=[None])

    assert repr(manager) == NO_LISTENERS


def test_monitor_refuses_a_registry_of_another_kind(manager: EventManager) -> None:
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry of prometheus_client, not 5"):
        monitor(manager, logs=False, registry=5)  # type: ignore[arg-type]  # refused

    assert repr(manager) == NO_LISTENERS


def test_monitor_says_how_to_pass_another_logger(manager: EventManager) -> None:
    with pytest.raises(TypeError, match=r"pass structlog.wrap_logger\(\.\.\.\) of another logger"):
        monitor(manager, logs=logging.getLogger("x"), metrics=False)


def test_monitor_connects_given_subscribers(manager: EventManager, logger: Any) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm-256color"})
    subscribers: dict[str, Any] = {
        "logs": LogSubscriber(logger=logger),
        "metrics": MetricsSubscriber(registry=CollectorRegistry()),
        "progress": ProgressBars(console=console),
    }

    with monitor(manager, **subscribers):
        assert all("listens to" in repr(one) for one in subscribers.values())

    assert all("not connected" in repr(one) for one in subscribers.values())


def test_progress_without_terminal_draws_nothing(manager: EventManager, capsys: pytest.CaptureFixture[str]) -> None:
    with monitor(manager, logs=False, metrics=False, progress=True):
        pass

    assert capsys.readouterr() == ("", "")


def test_close_disconnects_and_is_idempotent(manager: EventManager, registry: CollectorRegistry, logger: Any) -> None:
    observed = monitor(manager, logs=logger, registry=registry)

    observed.close()
    observed.close()

    assert repr(manager) == NO_LISTENERS
    assert repr(observed) == f"<Monitor of {NO_LISTENERS}, closed>"


def test_two_monitors_share_a_registry(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    with monitor(manager, logs=False, registry=registry), monitor(manager, logs=False, registry=registry):
        store.from_bytes("a", b"1")

    assert sets(registry) == 1


def test_monitor_without_port_has_no_address(manager: EventManager, registry: CollectorRegistry) -> None:
    observed = monitor(manager, logs=False, registry=registry)

    assert observed.address is None
    assert observed.page is None
    assert observed.new_login() is None


def test_metrics_are_served_until_close_ends_the_threads(
    manager: EventManager, registry: CollectorRegistry, store: DictMemoryStore
) -> None:
    before = set(threading.enumerate())
    with monitor(manager, logs=False, registry=registry, port=0) as observed:
        store.from_bytes("a", b"1")
        address = str(observed.address)
        with urllib.request.urlopen(address) as response:
            assert b"encore_storage_store_info" in response.read()
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/metrics")
        assert observed.page == address.removesuffix("metrics")
        assert observed.new_login() == observed.page
        assert observed.serves
        assert repr(observed) == f"<Monitor of {manager!r}, shown at {observed.page}>"

    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)
    assert not [thread for thread in set(threading.enumerate()) - before if "encore" in thread.name]


@pytest.mark.parametrize("metrics", [True, False])
def test_taken_port_of_a_required_page_raises_address_error_and_leaves_nothing_connected(
    manager: EventManager, registry: CollectorRegistry, taken: int, metrics: bool
) -> None:
    holder = f"process {os.getpid()}" if sys.platform.startswith("linux") else "another program"
    advice = "choose another port, or 0 for one that is free"
    with pytest.raises(AddressError, match=rf"port {taken} of '127\.0\.0\.1': .*{holder} holds it; {advice}") as caught:
        monitor(manager, logs=False, metrics=metrics, registry=registry, port=taken, required=True)
    assert caught.value.is_taken

    assert repr(manager) == NO_LISTENERS


def test_required_page_without_a_port_is_refused(manager: EventManager) -> None:
    with pytest.raises(
        TypeError, match=r"a page is required, and there is no port: pass port=\.\.\., or leave out req"
    ):
        monitor(manager, required=True)

    assert repr(manager) == NO_LISTENERS


def test_taken_port_is_one_warning_and_served_once_it_is_free(
    manager: EventManager,
    registry: CollectorRegistry,
    store: DictMemoryStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("encore_storage.server.participant._RETRY_SECONDS", 0)
    caplog.set_level(logging.INFO, "encore_storage")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        observed = monitor(manager, logs=False, registry=registry, port=port)
        store.from_bytes("a", b"1")
        assert sets(registry) == 1
        assert (observed.page, observed.address, observed.new_login()) == (None, None, None)
        assert not observed.serves
        holder = f"process {os.getpid()}" if sys.platform.startswith("linux") else "another program"
        until(lambda: observed._page is not None and observed._page._participant._has_warned)

    until(lambda: observed.page)

    page = f"http://127.0.0.1:{port}/"
    assert observed.page == page
    observed.close()
    warning, note = caplog.messages
    assert re.fullmatch(rf"no page on port {port}, which .*{holder} holds: choose another port \(.*\)", warning)
    assert (caplog.records[1].levelname, note) == ("INFO", f"port {port} is free: the page is at {page} now")


@pytest.mark.parametrize("group", ["", "a\nb", "x" * 101])
def test_monitor_refuses_a_group_without_a_name(group: str, manager: EventManager, registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match=r"group must be a name of 1 to 100 printable characters, not "):
        monitor(manager, logs=False, registry=registry, port=0, group=group)

    assert repr(manager) == NO_LISTENERS


def test_monitor_refuses_a_group_that_is_no_name(manager: EventManager) -> None:
    group: Any = 5
    with pytest.raises(TypeError, match="group must be the name of a group of processes, not 5"):
        monitor(manager, logs=False, group=group)

    assert repr(manager) == NO_LISTENERS


def test_port_out_of_range_raises_address_error(manager: EventManager, registry: CollectorRegistry) -> None:
    with pytest.raises(AddressError, match="port 65536") as caught:
        monitor(manager, logs=False, registry=registry, port=65536)

    assert isinstance(caught.value, OSError)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", 65536)


def test_subscriber_that_fails_to_connect_leaves_nothing_connected(
    manager: EventManager, registry: CollectorRegistry, logger: Any
) -> None:
    elsewhere = LogSubscriber(logger=logger).connect(EventManager())

    with pytest.raises(RuntimeError, match="already listens to"):
        monitor(manager, logs=elsewhere, registry=registry)

    assert repr(manager) == NO_LISTENERS


def test_monitor_closes_with_its_block(manager: EventManager, registry: CollectorRegistry) -> None:
    with monitor(manager, logs=False, registry=registry) as observed:
        assert isinstance(observed, Monitor)

    assert repr(manager) == NO_LISTENERS


@pytest.mark.parametrize("given", [9464, "manager", object()])
def test_monitor_refuses_an_event_manager_of_another_type(given: Any) -> None:
    with pytest.raises(TypeError, match="an event manager was expected"):
        monitor(given)


def test_monitor_refuses_a_port_that_is_no_int(manager: EventManager) -> None:
    with pytest.raises(TypeError, match="port must be an int, not '9464'"):
        monitor(manager, port="9464")  # type: ignore[arg-type]  # the point of the test
