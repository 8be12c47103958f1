"""The sweeps that other tests are made of: each moment of a call is met once."""

from __future__ import annotations

import io

import pytest

from encore_storage import Value
from tests.storage.sweeps import FOREVER, Moments, sweep


class Counter:
    """Something that calls code of the library, two functions in all."""

    def __init__(self) -> None:
        self.ended = False

    def run(self) -> None:
        Value(io.BytesIO(b"")).close()
        self.ended = True


@pytest.mark.parametrize(("events", "least"), [("call", 2), ("opcode", 10)])
def test_a_sweep_breaks_off_at_each_moment_and_then_not_at_all(events: Moments, least: int) -> None:
    made: list[tuple[bool, bool]] = []

    number = sweep(
        Counter,
        Counter.run,
        lambda counter, error: made.append((counter.ended, isinstance(error, KeyboardInterrupt))),
        events=events,
    )

    assert number >= least
    assert number == 2 if events == "call" else number < FOREVER
    assert made == [(False, True)] * number + [(True, False)]


def test_a_sweep_says_where_the_moment_was_that_its_check_did_not_like() -> None:
    def check(counter: Counter, error: BaseException | None) -> None:
        assert counter.ended

    with pytest.raises(AssertionError) as caught:
        sweep(Counter, Counter.run, check, error=MemoryError)

    assert "broken off at moment 1, value.py:" in caught.value.__notes__[0]
