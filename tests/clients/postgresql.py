"""A real PostgreSQL server, which listens on a socket in its own folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers import give_up

TIMEOUT = 60.0
"""Seconds that a test waits for the server before it fails."""

USER = "encore"
OPTIONS = ("listen_addresses=", "fsync=off", "max_prepared_transactions=10", "max_connections=50", "autovacuum=off")


class PostgreSQL:
    """A PostgreSQL server for a block, with the empty database `orders`.

    PostgreSQL refuses to run as root, so root runs it as another user.
    """

    def __init__(self) -> None:
        """Set up without starting."""
        self._running = ExitStack()

    def url(self, driver: str = "psycopg", database: str = "orders") -> str:
        """Return the address of a database for SQLAlchemy."""
        return f"postgresql+{driver}://{USER}@/{database}?host={self.folder}"

    def __enter__(self) -> Self:
        """Make the database, start the server, and wait until it is ready."""
        programs = _programs()
        with ExitStack() as starting:
            self.folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))  # a socket's path must be short
            starting.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._as_user: dict[str, Any] = {"cwd": self.folder}
            if os.getuid() == 0:
                user = _unprivileged()
                self._as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
                os.chown(self.folder, user.pw_uid, user.pw_gid)
            data = str(self.folder / "data")
            self._run(programs / "initdb", "-A", "trust", "-U", USER, "-N", "-E", "UTF8", "--locale=C", data)
            log = starting.enter_context((self.folder / "log").open("wb"))
            options = [f"-c{option}" for option in OPTIONS]
            command = [str(programs / "postgres"), "-D", data, "-k", str(self.folder), *options]
            process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user)
            starting.enter_context(process)
            starting.callback(process.kill)  # it has no state worth saving
            self._process = process
            self._wait_until_ready(programs, process)
            self._run(programs / "createdb", "-h", str(self.folder), "-U", USER, "orders")
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._running.close()

    def kill(self) -> None:
        """Kill all processes of the server."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        for number in (self._process.pid, *map(int, children.split())):
            os.kill(number, signal.SIGKILL)
        self._process.wait()

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user)
        assert done.returncode == 0, done.stderr

    def _wait_until_ready(self, programs: Path, process: subprocess.Popen[bytes]) -> None:
        command = [str(programs / "pg_isready"), "-q", "-h", str(self.folder)]
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run(command, check=False).returncode != 0:
            assert process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)


def _programs() -> Path:
    """Return the folder of the server's programs; without one, skip or fail the test."""
    found = [path for path in (shutil.which("postgres"), *Path("/usr/lib/postgresql").glob("*/bin/postgres")) if path]
    if not found:
        give_up("no PostgreSQL server is installed: apt-get install postgresql")
    return Path(found[-1]).parent


def _unprivileged() -> pwd.struct_passwd:
    names = [entry.pw_name for entry in pwd.getpwall()]
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")
