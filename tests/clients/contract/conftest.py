"""The client under test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from encore_events import EventManager
from tests.clients.contract.cases import DATA, Case


@pytest.fixture
def case(request: pytest.FixtureRequest, manager: EventManager) -> Iterator[Case]:
    """Yield the case, with DATA under 'a'."""
    case: Case = request.param(request, manager)
    case.put_outside("a", DATA)
    yield case
    case.close()
