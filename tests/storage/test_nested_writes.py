"""Nested writes: a value is written while another one is being written to the same store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.events import StoreModificationEvent, StoreProgressStepEvent
from encore_storage.stores.abstract import AbstractStore
from encore_storage.streams import MEBIBYTE
from tests.storage.support import LONG, Source


@pytest.fixture
def archive(archive: AbstractStore) -> AbstractStore:
    """Return a transactional store whose timeout is shorter than the test's."""
    archive.timeout = LONG / 3
    return archive


class ActingFile:
    """A file of three chunks that acts before the second one, and may raise an error after the third."""

    def __init__(self, act: Callable[[], object], error: Exception | None = None) -> None:
        self._chunks = self._parts(act, error)

    def _parts(self, act: Callable[[], object], error: Exception | None) -> Iterator[bytes]:
        yield bytes(MEBIBYTE)
        act()
        yield bytes(MEBIBYTE)
        yield b"end"
        if error is not None:
            raise error

    def read(self, size: int, /) -> bytes:
        return next(self._chunks, b"")


def changes(recorder: EventRecorder) -> list[str]:
    """Return the action and key of each recorded modification."""
    return [f"{event.action} {event.key}" for event in recorder.of(StoreModificationEvent)]


def test_nested_event_precedes_outer_event(archive: AbstractStore, recorder: EventRecorder) -> None:
    archive.set("outer", (ActingFile(lambda: archive.from_bytes("inner", b"1")), {}))

    assert changes(recorder) == ["set inner", "set outer"]
    assert sorted(archive.query_keys()) == ["inner", "outer"]


def test_nested_events_match_store_when_outer_write_fails(archive: AbstractStore, recorder: EventRecorder) -> None:
    with pytest.raises(OSError, match="network"):
        archive.set("outer", (ActingFile(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))

    assert not archive.exists("outer")
    assert changes(recorder) == [f"set {key}" for key in archive.query_keys()]


def test_nested_events_of_three_levels_are_ordered_inner_first(archive: AbstractStore, recorder: EventRecorder) -> None:
    def middle() -> None:
        archive.set("middle", (ActingFile(lambda: archive.from_bytes("inner", b"1")), {}))

    archive.set("outer", (ActingFile(middle), {}))

    assert changes(recorder) == ["set inner", "set middle", "set outer"]


def test_nested_events_match_store_when_middle_write_fails(archive: AbstractStore, recorder: EventRecorder) -> None:
    def middle() -> None:
        with pytest.raises(OSError, match="network"):
            archive.set("middle", (ActingFile(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))

    archive.set("outer", (ActingFile(middle), {}))

    assert not archive.exists("middle")
    assert sorted(changes(recorder)) == [f"set {key}" for key in sorted(archive.query_keys())]
    assert changes(recorder)[-1] == "set outer"


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_nested_events_are_held_until_transaction_ends(
    archive: AbstractStore, recorder: EventRecorder, fails: bool
) -> None:
    def middle() -> None:
        archive.set("middle", (ActingFile(lambda: archive.from_bytes("inner", b"1")), {}))

    try:
        with archive.transaction():
            archive.set("outer", (ActingFile(middle), {}))
            assert changes(recorder) == []
            if fails:
                raise OSError("no")
    except OSError:
        pass

    expected = [] if fails else ["inner", "middle", "outer"]
    assert changes(recorder) == [f"set {key}" for key in expected]
    assert sorted(archive.query_keys()) == expected


def test_nested_write_failed_inside_transaction_emits_nothing(archive: AbstractStore, recorder: EventRecorder) -> None:
    with archive.transaction():
        with pytest.raises(OSError, match="network"):
            archive.set("outer", (ActingFile(lambda: archive.from_bytes("inner", b"1"), OSError("network")), {}))
        archive.from_bytes("other", b"1")

    assert sorted(changes(recorder)) == [f"set {key}" for key in sorted(archive.query_keys())]
    assert not archive.exists("outer")


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_nested_events_match_store_when_step_listener_writes(
    archive: AbstractStore, manager: EventManager, recorder: EventRecorder, fails: bool
) -> None:
    def note(event: StoreProgressStepEvent) -> None:
        if event.key == "outer" and event.step > MEBIBYTE:
            archive.from_bytes("note", b"1")

    manager.connect(StoreProgressStepEvent, note)
    answers: list[bytes | BaseException] = [bytes(MEBIBYTE)] * 2 + [OSError("network")] * fails
    try:
        archive.set("outer", (Source(*answers), {}))
    except OSError:
        assert fails

    changed = changes(recorder)
    assert {change.split()[1] for change in changed} == set(archive.query_keys())
    assert archive.exists("outer") is not fails
    assert changed.count("set note") <= 1
    assert fails or changed[-1] == "set outer"
