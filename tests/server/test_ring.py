"""The latest events by number: what is held, what was missed."""

from __future__ import annotations

import pytest

from encore_storage.server.ring import BufferedEvent, Ring


def event(number: int, time: float = 0.0) -> BufferedEvent:
    return BufferedEvent(number, time, "door.opened", None, None, None, b"%d" % number)


@pytest.fixture
def ring() -> Ring:
    return Ring(capacity=4)


def fill(ring: Ring, count: int) -> None:
    for _ in range(count):
        ring.append(event(ring.last + 1, time=ring.last + 1))


def numbers(ring: Ring, after: int) -> list[int]:
    return [one.number for one in ring.after(after).events]


def test_an_empty_ring_has_nothing_after_anything(ring: Ring) -> None:
    assert ring.after(0) == (0, [], 0)
    assert ring.before(0.0) == (0, True)
    assert repr(ring) == "<Ring: 0 of 4, last 0>"


def test_what_comes_after_a_number_is_given_in_order(ring: Ring) -> None:
    fill(ring, 3)

    assert numbers(ring, 0) == [1, 2, 3]
    assert numbers(ring, 2) == [3]
    assert numbers(ring, 3) == []
    assert ring.after(1).missed == 0


def test_what_has_been_overwritten_is_counted_as_missed(ring: Ring) -> None:
    fill(ring, 10)

    assert numbers(ring, 3) == [7, 8, 9, 10]
    assert ring.after(3).missed == 3
    assert ring.after(6).missed == 0
    assert len(ring) == 4


def test_what_was_skipped_is_counted_as_missed(ring: Ring) -> None:
    fill(ring, 2)
    ring.skip(5)
    fill(ring, 1)

    assert numbers(ring, 1) == [8]
    assert ring.after(1).missed == 6
    assert ring.after(7).missed == 0


def test_a_number_that_has_not_come_yet_misses_nothing(ring: Ring) -> None:
    fill(ring, 2)

    assert ring.after(9) == (0, [], 2)


def test_a_time_leads_to_the_number_before_it(ring: Ring) -> None:
    fill(ring, 6)

    assert ring.before(4.5) == (4, True)
    assert ring.before(5.0) == (4, True)
    assert ring.before(99.0) == (6, True)
    assert ring.before(0.0) == (2, False)


def test_before_all_that_is_held_there_may_have_been_more(ring: Ring) -> None:
    fill(ring, 2)
    assert ring.before(0.0) == (0, True)
    ring.skip(3)
    assert ring.before(9.0) == (5, True)
    fill(ring, 1)
    assert ring.before(2.5) == (5, False)
    ring.skip(4)
    assert ring.before(0.0) == (10, False)


def test_a_time_after_what_was_skipped_is_led_to_before_it() -> None:
    ring = Ring(capacity=100)
    fill(ring, 2)
    ring.skip(3)
    fill(ring, 1)

    assert ring.before(2.5) == (2, True)
    assert ring.after(2).missed == 3


def test_a_limit_leaves_the_rest_for_later(ring: Ring) -> None:
    fill(ring, 10)

    found = ring.after(3, limit=2)

    assert [one.number for one in found.events] == [7, 8]
    assert (found.missed, found.last) == (3, 8)


def test_long_frames_push_others_out() -> None:
    ring = Ring(capacity=100, max_bytes=10)
    for number in range(1, 5):
        ring.append(BufferedEvent(number, number, "door.opened", None, None, None, b"abcd"))
    ring.append(BufferedEvent(5, 5, "door.opened", None, None, None, b"x" * 11))

    assert numbers(ring, 0) == [3, 4]
    assert ring.after(0).missed == 3
    ring.append(BufferedEvent(6, 6, "door.opened", None, None, None, b"x" * 10))
    assert numbers(ring, 0) == [6]


def test_an_event_that_is_overwritten_while_it_is_read_counts_as_missed(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ring, 4)
    held = ring._held

    def overtaken(first: int, last: int) -> object:
        fill(ring, 2)  # the writer goes on between the look at `last` and the look at the events
        return held(first, last)

    monkeypatch.setattr(ring, "_held", overtaken)

    found = ring.after(0)

    assert [one.number for one in found.events] == [3, 4]
    assert (found.missed, found.last) == (2, 4)
