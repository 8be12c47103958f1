"""The queue of a sender, its connection, and what it keeps."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from encore_storage.processes.frames import EVENTS, HELLO, FrameReader, read_events
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from tests.forking import run_forking
from tests.processes.link_support import PROCESS, Kept, payload, receiving
from tests.server.support import until


class Source:
    """A state that is a number."""

    def __init__(self) -> None:
        self.version = 1
        self.cursors: list[Any] = []

    def changes(self, since: Any) -> tuple[Sequence[bytes], Any]:
        self.cursors.append(since)
        return [b"%d" % self.version], self.version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sock"


@pytest.fixture
def sender(path: Path) -> Sender:
    return Sender(path, PROCESS)


def test_batches_arrive_in_order(path: Path, sender: Sender) -> None:
    kept = Kept()
    with receiving(path, kept) as vanished:
        assert sender.put(payload(b"0"), 1)  # before the connection
        assert sender.connect()
        for number in range(1, 200):
            assert sender.put(payload(b"%d" % number), 1)
        sender.close()
        until(lambda: kept.left)

    assert kept.joined == [PROCESS]
    assert kept.texts == [b"%d" % number for number in range(200)]
    assert kept.left == [False]
    assert vanished == []
    assert sender.take_back() == ([], 0)


def test_no_receiver_is_no_connection(sender: Sender) -> None:
    assert not sender.connect()
    assert sender.wait_closed(0)
    assert repr(sender).endswith("not connected, 0 batches waiting, 0 unsent>")
    sender.close()


def test_socket_that_nobody_listens_on_is_no_connection(path: Path, sender: Sender) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    assert not sender.connect()


def test_full_queue_drops_whole_batches_and_counts_them(path: Path) -> None:
    sender, kept = Sender(path, PROCESS, max_bytes=1000), Kept()
    accepted = [sender.put(payload(b"x" * 100, b"y" * 100), 2) for _ in range(10)]

    assert accepted == [True] * 3 + [False] * 7
    assert sender.unsent == 14
    with receiving(path, kept):
        assert sender.connect()
        until(lambda: len(kept.texts) == 6)
        until(lambda: sender.is_idle)
        assert sender.put(payload(b"after"), 1)
        until(lambda: len(kept.texts) == 7)
        sender.close()

    assert kept.skipped == 14


def test_receiver_that_does_not_read_never_blocks_put(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        sender = Sender(path, PROCESS, max_bytes=2_000_000)
        assert sender.connect()
        accepted = [sender.put(payload(b"x" * 100_000), 1) for _ in range(100)]
        assert accepted.count(False) == sender.unsent > 50
        sender.close()  # gives up after a second

    assert sender.wait_closed(0)


def test_end_of_the_receiver_is_noticed_at_once(path: Path, sender: Sender) -> None:
    receiver = Receiver(path, Kept())
    receiver.start()
    assert sender.connect()
    assert sender.connect()  # already
    assert not sender.wait_closed(0)
    assert sender.is_connected

    receiver.close()

    assert sender.wait_closed(10)
    assert not sender.is_connected


def test_unacknowledged_batches_are_sent_to_the_next_receiver(path: Path, sender: Sender) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(path))
        first.listen()
        assert sender.connect()
        assert sender.put(payload(b"a"), 1)
        assert sender.put(payload(b"b"), 1)
        connection, _ = first.accept()
        with connection:
            reader, received = FrameReader(), list[int]()
            while received != [HELLO, EVENTS, EVENTS]:
                received += [kind for kind, _ in reader.read(connection.recv(1000))]  # and acknowledges nothing
    assert sender.wait_closed(10)
    sender.skip(4)
    assert sender.put(payload(b"c"), 1)

    kept = Kept()
    with receiving(path, kept):
        assert sender.connect()
        sender.close()
        until(lambda: kept.left)

    assert (kept.texts, kept.skipped) == ([b"a", b"b", b"c"], 4)


def test_batches_can_be_taken_back(sender: Sender) -> None:
    sender.skip(2)
    sender.put(payload(b"a"), 1)
    sender.skip(3)

    payloads, dropped = sender.take_back()

    assert [(read_events(each)[0], [text for *_, text in read_events(each)[1]]) for each in payloads] == [(2, [b"a"])]
    assert dropped == 3
    assert sender.take_back() == ([], 0)


def test_state_is_sent_if_it_has_changed(path: Path) -> None:
    source, kept = Source(), Kept()
    sender = Sender(path, PROCESS, source=source)
    with receiving(path, kept):
        assert sender.connect()
        until(lambda: kept.states == [b"1"])
        source.version = 2
        sender.skip(0)  # wakes the sender
        until(lambda: kept.states == [b"1", b"2"])
        sender.close()
    with receiving(path, kept):
        assert sender.connect()
        until(lambda: len(kept.states) == 3)
        sender.close()

    assert source.cursors == [None, 1, None]  # everything again for another receiver


def test_state_is_sent_after_the_clock_was_set_back(path: Path) -> None:
    source, kept, now = Source(), Kept(), [5000.0]
    sender = Sender(path, PROCESS, source=source, clock=lambda: now[0])
    with receiving(path, kept):
        assert sender.connect()
        until(lambda: kept.states == [b"1"])
        now[0] = 1000.0
        source.version = 2
        sender.skip(0)  # wakes the sender
        until(lambda: kept.states == [b"1", b"2"])
        sender.close()


def test_last_state_is_sent_before_the_end(path: Path) -> None:
    source, kept = Source(), Kept()
    sender = Sender(path, PROCESS, source=source)
    with receiving(path, kept):
        assert sender.connect()
        until(lambda: kept.states)
        source.version = 2
        sender.close()
        until(lambda: kept.left)

    assert kept.states == [b"1", b"2"]


def test_failing_state_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Source):
        def changes(self, since: Any) -> tuple[Sequence[bytes], Any]:
            raise OSError("no state")

    kept = Kept()
    sender = Sender(path, PROCESS, source=Failing())
    with receiving(path, kept):
        assert sender.connect()
        assert sender.put(payload(b"a"), 1)
        until(lambda: kept.texts)
        sender.close()

    assert [record.message for record in caplog.records] == ["cannot send the state of the process"]


FORKED = """
import os, sys
from pathlib import Path
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from tests.forking import forked, until
from tests.processes.link_support import PROCESS, Kept, payload

path, kept = Path(sys.argv[1]), Kept()
receiver = Receiver(path, kept)
receiver.start()
sender = Sender(path, PROCESS)
assert sender.connect()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.read(reading, 1)
    sender.close()
    receiver.close()
    print(sender.put(payload(b"child"), 1), sender.is_connected, sender.connect(), path.exists(), flush=True)
    os._exit(0)
sender.put(payload(b"parent"), 1)
sender.close()
until(lambda: kept.left)  # though the child has a copy of the connection
receiver.close()
print(Sender(path, PROCESS).connect(), kept.texts, kept.left, flush=True)
os.write(writing, b"x")
os.waitpid(child, 0)
"""


def test_forked_child_releases_both_ends(path: Path) -> None:
    assert run_forking(FORKED, path) == ["False [b'parent'] [False]", "False False False False"]


UNNOTICED = """
import os, sys
from pathlib import Path
from encore_storage.processes.receiver import Receiver
from encore_storage.processes.sender import Sender
from tests.forking import fork_without_hooks, until
from tests.processes.link_support import PROCESS, Kept

path, kept = Path(sys.argv[1]), Kept()
receiver, first, second = Receiver(path, kept), Sender(path, PROCESS), Sender(path, PROCESS)
receiver.start()
assert first.connect() and second.connect()
until(lambda: len(kept.joined) == 2)
reading, writing = os.pipe()
child = fork_without_hooks()
if not child:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
first.close()
until(lambda: kept.left)  # though the child has copies of all connections
receiver.close()
print(kept.left, second.wait_closed(20))
os.write(writing, b"x")
os.waitpid(child, 0)
"""


def test_ends_reach_the_other_side_though_a_child_has_not_noticed_its_fork(path: Path) -> None:
    assert run_forking(UNNOTICED, path) == ["[False] True"]
