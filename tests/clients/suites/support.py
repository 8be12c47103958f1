"""The suites of client libraries: they run in a child process, plain and with `observe(library)`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.servers import give_up
from tests.storage.support import REPOSITORY

CACHE = Path(sys.prefix, "suites")
"""The folder of the unpacked source distributions."""

CHILD = Path(__file__).parent / "child"
"""The folder of the plugin, apart because suites have modules named as those of these tests."""

DOWNLOAD_TIMEOUT = 120.0


class Suite(NamedTuple):
    """The suite of a library.

    Attributes:
        distribution: the name of the distribution, whose source distribution of the installed version has the suite.
        modules: the modules to observe.
        tests: the files and folders of the suite.
        options: further options of pytest.
        without: parts of the ids of tests that are not run.
        environment: further variables of the environment.
    """

    distribution: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class Ran(NamedTuple):
    """A run of a suite.

    Attributes:
        outcomes: the outcome of each test by its id.
        operations: the number of observed operations by their names.
        output: the end of pytest's output.
    """

    outcomes: dict[str, str]
    operations: dict[str, int]
    output: str

    def having(self, outcome: str) -> set[str]:
        """Return the ids of the tests that have the outcome."""
        return {name for name, its in self.outcomes.items() if its == outcome}


def check(suite: Suite, *, timeout: float) -> tuple[Ran, Ran]:
    """Run the suite plain and observed, and fail unless each test has the same outcome in both; return both runs."""
    folder = source_of(suite.distribution)
    plain = run(suite, folder, timeout=timeout, observed=False)
    observed = run(suite, folder, timeout=timeout, observed=True)
    assert plain.having("passed"), plain.output
    assert plain.operations == {}
    assert sum(observed.operations.values()) > 0, observed.output
    differing = {
        name: (plain.outcomes.get(name), observed.outcomes.get(name))
        for name in plain.outcomes.keys() | observed.outcomes.keys()
        if plain.outcomes.get(name) != observed.outcomes.get(name)
    }
    assert differing == {}, observed.output
    return plain, observed


def run(suite: Suite, folder: Path, *, timeout: float, observed: bool) -> Ran:
    """Run the suite in a child process."""
    # Without the variables of coverage, which would make it slower.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    without = [f"--deselect={name}" for name in suite.without]
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary, "report.json")
        environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(CHILD), str(REPOSITORY)]),
            "PYTHONNOUSERSITE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "ENCORE_SUITE_OBSERVED": " ".join(suite.modules) if observed else "",
            "ENCORE_SUITE_REPORT": str(report),
            **dict(suite.environment),
        }
        command = [sys.executable, "-m", "pytest", "-p", "own_suite", "-q", "--tb=short", "--color=no"]
        command += [*suite.options, *without, f"--basetemp={temporary}/tests", *suite.tests]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        output = done.stdout[-20_000:] + done.stderr[-5_000:]
        assert report.exists(), output
        return Ran(**json.loads(report.read_text()), output=output)


def source_of(distribution: str) -> Path:
    """Return the unpacked source distribution of the installed version; without it, skip or fail the test."""
    version = importlib.metadata.version(distribution)
    folder = CACHE / f"{distribution}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [f"--no-binary={distribution}", f"--dest={temporary}", f"{distribution}=={version}"]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            give_up(f"the source distribution of {distribution} {version} cannot be downloaded: {error}")
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            files.extractall(temporary, filter="data")
        archive.unlink()
        (unpacked,) = Path(temporary).iterdir()
        try:
            unpacked.rename(folder)
        except OSError:  # another process of the tests was faster
            shutil.rmtree(unpacked)
    return folder
