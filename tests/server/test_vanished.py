"""The log of processes that vanished, with what they had in flight by their cells."""

from __future__ import annotations

import logging

import pytest

from encore_storage.processes.cell_directory import Member
from encore_storage.processes.info import ProcessInfo
from encore_storage.processes.merging import Blocks
from encore_storage.server.members import Members
from encore_storage.server.process_state import MemberState
from encore_storage.server.vanished import VanishedProcesses
from encore_storage.subscribers import blocks

WORKER = ProcessInfo(7, "worker.py", 100.0)
AT_WORK: Blocks = {
    blocks.in_progress("archive", "get", "read", 1): [1, 5],
    blocks.in_progress("archive", "get", "", 1): [1, 5],
    blocks.in_progress("archive", "set", "write", 1): [0, 0],
    blocks.operation("archive", "set", "write", "ok", 1, -1, ""): [3, 0.5, 30, 7, 0],
}
IDLE: Blocks = {blocks.in_progress("archive", "get", "read", 1): [0, 0]}


class Serving:
    """The processes that vanish, as a serving process sees them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.members = Members(lambda: 1000.0)
        self.vanished = VanishedProcesses(self.members, lambda: self.seconds)

    def lose(self, process: ProcessInfo = WORKER, in_flight: int = 0) -> MemberState:
        state = self.members.join(process)
        self.members.end(state, vanished=True)
        self.vanished.add(process, {("archive", "set"): in_flight} if in_flight else {})
        return state

    def log(self, found: Blocks | None = None, *, is_last: bool = False, pid: int = WORKER.pid) -> None:
        self.vanished.log([] if found is None else [Member(pid, 1, found)], is_last=is_last)


@pytest.fixture
def serving(caplog: pytest.LogCaptureFixture) -> Serving:
    caplog.set_level(logging.INFO, "encore_storage")
    return Serving()


def test_cells_decide_against_the_last_state(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.lose(in_flight=1)
    serving.log()
    assert caplog.records == []

    serving.log(IDLE)
    serving.seconds = 100
    serving.log()

    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages == ["process 7 (worker.py) has vanished with nothing in flight"]


def test_operations_in_the_cells_are_a_warning(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.lose()

    serving.log(AT_WORK)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages == ["process 7 (worker.py) has vanished with get of 'archive' (2) in flight"]


def test_cells_may_be_folded_before_the_connection_ends(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.log(AT_WORK)
    serving.log(IDLE)  # of another registry of the same process
    serving.lose()
    serving.log()

    assert caplog.messages == ["process 7 (worker.py) has vanished with get of 'archive' (2) in flight"]


def test_cells_of_an_earlier_process_with_the_id_are_forgotten(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    serving.log(AT_WORK)
    serving.seconds = 10
    serving.log()
    serving.lose()
    serving.log(IDLE)

    assert caplog.messages == ["process 7 (worker.py) has vanished with nothing in flight"]


@pytest.mark.parametrize("is_last", [True, False])
def test_last_state_counts_without_cells(serving: Serving, caplog: pytest.LogCaptureFixture, *, is_last: bool) -> None:
    serving.lose(in_flight=2)
    serving.log(AT_WORK, pid=8)
    assert repr(serving.vanished) == "<VanishedProcesses: 1 to be logged>"
    serving.seconds += 0 if is_last else 10

    serving.log(is_last=is_last)

    assert caplog.messages == ["process 7 (worker.py) has vanished with set of 'archive' (2) in flight"]


def test_process_that_connects_again_has_not_vanished(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.lose(in_flight=1)
    serving.log()
    serving.members.join(WORKER)
    serving.log(is_last=True)

    assert caplog.records == []


def test_predecessor_is_listed_with_its_totals_and_logged(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.vanished.add_predecessor(WORKER)
    serving.log(AT_WORK)

    [state] = serving.members.all
    assert (state.process, state.state, state.totals()["operations"]) == (WORKER, "vanished", 3)
    assert serving.members.sum.totals()["operations"] == 0  # it has those of all ended processes already
    assert caplog.messages == ["process 7 (worker.py) has vanished with get of 'archive' (2) in flight"]
