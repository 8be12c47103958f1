"""Real Prometheus and Alertmanager processes, and a webhook for the latter."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode

from tests.servers import give_up

T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds that a test waits for a server before it fails."""

PAUSE = 0.1
"""Seconds between two polls."""

Config = Mapping[str, Any] | str
"""The configuration of a server: YAML, or a mapping that is written as JSON."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_listening = re.compile(r'msg="Listening on".* address=(\S+)')


class ServerError(Exception):
    """An error message of a server, or its exit status and log."""


class Sample(NamedTuple):
    """One value of a series; a scalar has no labels."""

    labels: dict[str, str]
    value: float


class Series(NamedTuple):
    """One series over time: pairs of a time and a value."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


def binary(*names: str, package: str) -> str:
    """Return the path of the first installed program; if there is none, skip or fail the test."""
    found = [path for name in names if (path := shutil.which(name))]
    if not found:
        give_up(f"no {' or '.join(names)} is installed: apt-get install {package}")
    return found[0]


def fetch(address: str) -> tuple[int, str]:
    """Return the status and the text of a response, bypassing proxies."""
    try:
        with _direct.open(address, timeout=TIMEOUT) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def poll(ask: Callable[[], T], until: Callable[[T], object] = bool, timeout: float = TIMEOUT) -> T:
    """Call `ask` until its result satisfies `until`, and return it."""
    deadline = time.monotonic() + timeout
    while not until(answer := ask()):
        assert time.monotonic() < deadline, f"after {timeout} s it was still {answer!r}"
        time.sleep(PAUSE)
    return answer


class Server:
    """A server process with its own directory and a free port of 127.0.0.1, for a block.

    Attributes:
        target: its host and port.
    """

    names: ClassVar[tuple[str, ...]]
    package: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    api: ClassVar[str]

    def __init__(self, config: Config) -> None:
        """Set up without starting."""
        self.target = ""
        self._config = config if isinstance(config, str) else json.dumps(config)
        self._running = ExitStack()

    @property
    def address(self) -> str:
        return f"http://{self.target}"

    def __enter__(self) -> Self:
        """Start the server, and wait until it is ready."""
        program = binary(*self.names, package=self.package)
        with ExitStack() as starting:
            folder = Path(starting.enter_context(tempfile.TemporaryDirectory(prefix=f"{self.names[0]}-")))
            (folder / "config.yml").write_text(self._config, encoding="utf-8")
            self._log = folder / "log"
            log = starting.enter_context(self._log.open("wb"))
            command = [program, "--config.file=config.yml", "--web.listen-address=127.0.0.1:0", *self.options]
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            starting.enter_context(self._process)
            starting.callback(self._process.kill)  # it has no state worth saving
            self.target = poll(self._listening_at)
            poll(lambda: fetch(f"{self.address}/-/ready")[0] == 200)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._running.close()

    def log(self) -> str:
        """Return its log."""
        return self._log.read_text(encoding="utf-8")

    def ask(self, path: str, **parameters: object) -> Any:
        """Call its API; parameters that are None are omitted, and `match` stands for `match[]`.

        Raises:
            ServerError: the server returns an error.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        query = urlencode({{"match": "match[]"}.get(name, name): given[name] for name in given}, doseq=True)
        status, text = fetch(f"{self.address}{self.api}/{path}?{query}")
        return self._answer(status, text)

    def _answer(self, status: int, text: str) -> Any:
        if status != 200:
            raise ServerError(text)
        return json.loads(text)

    def _listening_at(self) -> str:
        if self._process.poll() is not None:
            raise ServerError(f"{self.names[0]} ended with {self._process.returncode}:\n{self.log()}")
        found = _listening.search(self.log())
        return found[1] if found else ""


class Prometheus(Server):
    """A Prometheus, configured by `prometheus_config`."""

    names = ("prometheus",)
    package = "prometheus"
    options = (
        *("--storage.tsdb.path=data", "--enable-feature=exemplar-storage", "--web.external-url=http://prometheus/"),
        "--rules.alert.resend-delay=1s",  # an Alertmanager is discovered after 5 s, and misses alerts sent before
    )
    api = "/api/v1"

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        """Evaluate the expression now, or at that time."""
        answer = self.ask("query", query=expr, time=at)
        if answer["resultType"] == "scalar":
            return [Sample({}, float(answer["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def query_range(self, expr: str, start: float, end: float, step: float = 1) -> list[Series]:
        """Evaluate the expression from start to end, every `step` seconds."""
        result = self.ask("query_range", query=expr, start=start, end=end, step=step)["result"]
        return [Series(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in result]

    def exemplars(self, expr: str, start: float, end: float) -> list[dict[str, Any]]:
        """Return the exemplars of the series in the expression: each with seriesLabels and exemplars."""
        return list(self.ask("query_exemplars", query=expr, start=start, end=end))

    def series(self, *matches: str) -> list[dict[str, str]]:
        """Return the labels of all series that match one of the selectors."""
        return list(self.ask("series", match=matches))

    def labels(self, *matches: str) -> list[str]:
        """Return the label names of all series, or of those that match one of the selectors."""
        return list(self.ask("labels", match=matches))

    def label_values(self, label: str, *matches: str) -> list[str]:
        """Return the values of a label."""
        return list(self.ask(f"label/{label}/values", match=matches))

    def metadata(self, metric: str | None = None) -> dict[str, list[dict[str, str]]]:
        """Return type, help and unit of the scraped metrics."""
        return dict(self.ask("metadata", metric=metric))

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets and their state."""
        return list(self.ask("targets", state="active")["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules: name, query, health, lastError, state, alerts."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts: labels, annotations, state, activeAt, value."""
        return list(self.ask("alerts")["alerts"])

    def wait_for(
        self, expr: str, until: Callable[[list[Sample]], object] = bool, timeout: float = TIMEOUT
    ) -> list[Sample]:
        """Wait until the samples satisfy `until` (by default, until there are any), and return them."""
        return poll(lambda: self.query(expr), until, timeout)

    def _answer(self, status: int, text: str) -> Any:
        answer = json.loads(text)
        if answer["status"] != "success":
            raise ServerError(answer["error"])
        return answer["data"]


class Alertmanager(Server):
    """An Alertmanager without a cluster."""

    names = ("alertmanager", "prometheus-alertmanager")
    package = "prometheus-alertmanager"
    options = ("--storage.path=data", "--cluster.listen-address=", "--web.external-url=http://alertmanager/")
    api = "/api/v2"

    def alerts(self) -> list[dict[str, Any]]:
        """Return its alerts: labels, annotations, status, receivers."""
        return list(self.ask("alerts"))


class Webhook:
    """A webhook that records notifications of an Alertmanager, for a block.

    Attributes:
        posts: the notifications: status, alerts, groupLabels, commonLabels.
    """

    def __init__(self) -> None:
        """Bind a free port of 127.0.0.1."""
        posts = self.posts = list[dict[str, Any]]()

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's)
                """Log nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Listener)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(PAUSE,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        """Start listening."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, until: Callable[[dict[str, Any]], object], timeout: float = TIMEOUT) -> dict[str, Any]:
        """Wait until a notification satisfies `until`, and return it."""
        poll(lambda: self.posts, lambda posts: any(map(until, posts)), timeout)
        return next(filter(until, self.posts))


def prometheus_config(
    jobs: Mapping[str, Sequence[str]],
    *,
    rule_files: Iterable[Path] = (),
    alertmanager: str | None = None,
    interval: str = "1s",
) -> dict[str, Any]:
    """Return a configuration of Prometheus."""
    scraped = [{"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in jobs.items()]
    managers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": scraped,
        "rule_files": [str(path) for path in rule_files],
        "alerting": {"alertmanagers": managers},
    }
