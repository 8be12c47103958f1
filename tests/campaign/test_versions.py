"""The tests of clients with other versions of the libraries than the installed ones."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.servers import give_up
from tests.storage.support import REPOSITORY

TIMEOUT = 900.0


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = list(map(str, command))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    return subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_tests_of_sqlalchemy_pass_with_version_2_0(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check", "install")
    installed = run(*pip, "sqlalchemy<2.1")
    if installed.returncode != 0:
        give_up(f"SQLAlchemy 2.0 cannot be installed: {installed.stderr}")
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    before = f"import sys; sys.path.insert(0, {str(site)!r}); "  # everything else is that of these tests
    version = run(sys.executable, "-c", f"{before} import sqlalchemy; print(sqlalchemy.__version__)")
    program = f"{before} import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = run(
        sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", "-p", "no:cov", "tests/clients/sqlalchemy"
    )

    assert version.stdout.startswith("2.0."), version.stderr
    assert done.returncode == 0, done.stdout[-20_000:]
