"""SeaweedFS, a server of S3, for the length of the demonstration."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SECONDS = 20.0  # until it must be ready; it takes one on an idle machine
_PORTS = ("s3", "master", "volume", "filer", "admin")

# The server ends with this process, even if that is killed: then the shell reads the end of the pipe, and kills it.
_GUARDED = 'exec 3<&0; (read -r line <&3 || kill -KILL $$) & exec "$@" 3<&- </dev/null'


class SeaweedFS:
    """A server that starts in the background and stores its data in a temporary directory.

    Attributes:
        key: the access key.
        secret: the secret key.
        ports: the ports of its services, that of S3 first.
    """

    def __init__(self, program: str, folder: Path) -> None:
        """Start `program` in a directory that is made in `folder`."""
        self.key, self.secret = "demo", secrets.token_hex()
        self._folder = Path(tempfile.mkdtemp(prefix="seaweedfs-", dir=folder))
        self.ports = _free_ports(2 * len(_PORTS))
        self._deadline = time.monotonic() + _SECONDS
        identity = {
            "name": "demo",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "List", "Write"],
        }
        (self._folder / "keys.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (self._folder / "data").mkdir()
        names = [f"{name}.port{kind}" for name in _PORTS for kind in ("", ".grpc")]
        command = [
            *(program, "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.config=keys.json"),
            *("-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *(f"-{name}={port}" for name, port in zip(names, self.ports, strict=True)),
        ]
        self._process = subprocess.Popen(  # noqa: S603 (the program of the package, with fixed arguments)
            ["/bin/sh", "-c", _GUARDED, "sh", *command],
            cwd=self._folder,
            env={**os.environ, "TMPDIR": str(self._folder)},  # for its logs
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demonstration, which stops it
        )

    @property
    def url(self) -> str:
        """The address of S3."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def wait(self) -> bool:
        """Wait until S3 answers; False if the server has ended, or takes too long."""
        while self._process.poll() is None and time.monotonic() < self._deadline:
            if self._answers():
                return True
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """End the server and delete its files."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(OSError):  # the shell has ended
                stdin.write(b"\n")  # the shell needs not kill it
                stdin.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        for port in self.ports:  # of these sockets, no option sets the directory
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 (named by SeaweedFS)
                path.unlink(missing_ok=True)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=1)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def find_program() -> str | None:
    """Return the path of `weed`, on the PATH or in the environment of this Python; None if it isn't installed."""
    return shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in servers]
