"""A million operations of each observed client leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from encore_events import EventManager
from tests.campaign.support import CASES
from tests.clients.memory import CLIENTS, check_memory

NUMBER = 1_000_000


@pytest.mark.parametrize("client", CLIENTS)
def test_a_million_operations_leave_no_memory_behind(
    client: str, manager: EventManager, record_property: Callable[[str, object], None]
) -> None:
    number = NUMBER // 10 if client == "boto3" else NUMBER  # botocore itself takes 0.4 ms
    record_property(CASES, number)

    check_memory(CLIENTS[client], manager, number)
