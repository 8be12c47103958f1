"""Operations of observed clients leave nothing behind; the campaign repeats this with a million."""

from __future__ import annotations

import pytest

from encore_events import EventManager
from tests.clients.memory import CLIENTS, check_memory


@pytest.mark.parametrize(("client", "number"), [(client, 2_000 if client == "boto3" else 10_000) for client in CLIENTS])
def test_operations_leave_no_memory_behind(client: str, number: int, manager: EventManager) -> None:
    check_memory(CLIENTS[client], manager, number)
