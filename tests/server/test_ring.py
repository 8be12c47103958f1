"""The ring buffer of the latest events."""

from __future__ import annotations

import pytest

from encore_storage.server.ring import BufferedEvent, Ring


def event(number: int, time: float = 0.0) -> BufferedEvent:
    return BufferedEvent(number, time, "door.opened", None, None, None, None, b"%d" % number)


@pytest.fixture
def ring() -> Ring:
    return Ring(capacity=4)


def fill(ring: Ring, count: int) -> None:
    for _ in range(count):
        ring.append(event(ring.last + 1, time=ring.last + 1))


def numbers(ring: Ring, after: int) -> list[int]:
    return [one.number for one in ring.after(after).events]


def test_empty_ring_returns_no_events(ring: Ring) -> None:
    assert ring.after(0) == (0, [], 0)
    assert ring.before(0.0) == (0, True)
    assert repr(ring) == "<Ring: 0 of 4, last 0>"


def test_after_returns_events_in_order(ring: Ring) -> None:
    fill(ring, 3)

    assert numbers(ring, 0) == [1, 2, 3]
    assert numbers(ring, 2) == [3]
    assert numbers(ring, 3) == []
    assert ring.after(1).missed == 0


def test_after_counts_overwritten_events_as_missed(ring: Ring) -> None:
    fill(ring, 10)

    assert numbers(ring, 3) == [7, 8, 9, 10]
    assert ring.after(3).missed == 3
    assert ring.after(6).missed == 0
    assert len(ring) == 4


def test_after_counts_skipped_events_as_missed(ring: Ring) -> None:
    fill(ring, 2)
    ring.skip(5)
    fill(ring, 1)

    assert numbers(ring, 1) == [8]
    assert ring.after(1).missed == 6
    assert ring.after(7).missed == 0


def test_after_a_future_number_misses_nothing(ring: Ring) -> None:
    fill(ring, 2)

    assert ring.after(9) == (0, [], 2)


def test_before_returns_the_number_before_a_time(ring: Ring) -> None:
    fill(ring, 6)

    assert ring.before(4.5) == (4, True)
    assert ring.before(5.0) == (4, True)
    assert ring.before(99.0) == (6, True)
    assert ring.before(0.0) == (2, False)


def test_before_reports_that_events_may_be_missing(ring: Ring) -> None:
    fill(ring, 2)
    assert ring.before(0.0) == (0, True)
    ring.skip(3)
    assert ring.before(9.0) == (5, True)
    fill(ring, 1)
    assert ring.before(2.5) == (5, False)
    ring.skip(4)
    assert ring.before(0.0) == (10, False)


def test_before_returns_a_number_before_skipped_events() -> None:
    ring = Ring(capacity=100)
    fill(ring, 2)
    ring.skip(3)
    fill(ring, 1)

    assert ring.before(2.5) == (2, True)
    assert ring.after(2).missed == 3


def test_after_returns_at_most_limit_events(ring: Ring) -> None:
    fill(ring, 10)

    found = ring.after(3, limit=2)

    assert [one.number for one in found.events] == [7, 8]
    assert (found.missed, found.last) == (3, 8)


def test_ring_holds_at_most_max_bytes() -> None:
    ring = Ring(capacity=100, max_bytes=10)
    for number in range(1, 5):
        ring.append(BufferedEvent(number, number, "door.opened", None, None, None, None, b"abcd"))
    ring.append(BufferedEvent(5, 5, "door.opened", None, None, None, None, b"x" * 11))

    assert numbers(ring, 0) == [3, 4]
    assert ring.after(0).missed == 3
    ring.append(BufferedEvent(6, 6, "door.opened", None, None, None, None, b"x" * 10))
    assert numbers(ring, 0) == [6]


def test_after_counts_events_overwritten_during_the_read_as_missed(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ring, 4)
    held = ring._held

    def overtaken(first: int, last: int) -> object:
        fill(ring, 2)  # the writer appends after `last` is read and before the events are
        return held(first, last)

    monkeypatch.setattr(ring, "_held", overtaken)

    found = ring.after(0)

    assert [one.number for one in found.events] == [3, 4]
    assert (found.missed, found.last) == (2, 4)
