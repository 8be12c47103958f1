"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

import encore_storage
from encore_storage import monitor
from encore_storage.monitoring import monitor as same_monitor

PACKAGES = ["encore_events", "encore_storage", "encore_storage.subscribers"]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_has_all_its_names(name: str) -> None:
    package = importlib.import_module(name)

    assert [each for each in package.__all__ if getattr(package, each, None) is None] == []
    assert {*package.__all__} <= {*dir(package)}


@pytest.mark.parametrize("name", PACKAGES)
def test_import_of_a_package_imports_none_of_its_modules(name: str) -> None:
    program = f"""
import sys
import {name}
print([each for each in sys.modules if each.startswith({name!r} + ".") and each != "encore_events.lazy"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_star_import_has_all_names() -> None:
    program = "from encore_storage import *; print(DictMemoryStore.__name__, monitor.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "DictMemoryStore monitor\n"


def test_name_is_that_of_its_module() -> None:
    assert monitor is same_monitor is encore_storage.monitor


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'encore_storage' has no attribute 'Stores'"):
        getattr(encore_storage, "Stores")  # noqa: B009 (mypy knows that there is none)


def test_classes_are_pickled_by_their_names() -> None:
    assert pickle.loads(pickle.dumps(encore_storage.Value)) is encore_storage.Value
