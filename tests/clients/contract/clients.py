"""All cases of the contract, and the table of clients and points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.contract.cases import POINTS, Case
from tests.clients.contract.databases import DATABASES
from tests.clients.contract.filesystems import LOCAL
from tests.clients.contract.objects import OBJECTS
from tests.clients.contract.remote import REMOTE

CASES: list[type[Case]] = [*LOCAL, *REMOTE, *OBJECTS, *DATABASES]


def point(name: str) -> Callable[[Any], Any]:
    """Return the decorator of the test of a point, which runs for each client that it can apply to."""
    assert name in POINTS
    cases = [case for case in CASES if name not in case.inapplicable]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name, indirect=True)


def table() -> str:
    """Return the table of clients and points in Markdown: tested, or the reason for which a point cannot apply."""
    rows = [["client", *POINTS], ["---"] * (len(POINTS) + 1)]
    rows += [[case.name, *(case.inapplicable.get(name, "yes") for name in POINTS)] for case in CASES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())  # noqa: T201 (that is its purpose)
