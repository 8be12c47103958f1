"""Dependencies and their lower bounds. With ENCORE_LOWEST=1, as in `make test-lowest`, these are what is installed."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
IS_LOWEST = os.environ.get("ENCORE_LOWEST") == "1"


def requirements() -> Iterator[Requirement]:
    """Yield the requirements of Encore, of its extras and of its tests on this machine."""
    content = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project, groups = content["project"], content["dependency-groups"]
    lists = [project["dependencies"], *project["optional-dependencies"].values(), groups["demo"], groups["dev"]]
    for requirement in (Requirement(one) for each in lists for one in each if isinstance(one, str)):
        is_needed = requirement.marker is None or requirement.marker.evaluate()
        if is_needed and requirement.name != project["name"]:
            yield requirement


@pytest.mark.parametrize("requirement", list(requirements()), ids=str)
def test_dependency_is_installed_as_its_lower_bound_says(requirement: Requirement) -> None:
    (bound,) = requirement.specifier
    installed = version(requirement.name)

    assert bound.operator in {">=", "=="}
    assert requirement.specifier.contains(installed)
    assert not IS_LOWEST or Requirement(f"x=={bound.version}").specifier.contains(installed)
