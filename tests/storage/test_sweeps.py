"""A sweep interrupts a call once at each of its moments."""

from __future__ import annotations

import io

import pytest

from encore_storage import Value
from tests.storage.sweeps import FOREVER, Moments, sweep


class Counter:
    """Calls two functions of the library."""

    def __init__(self) -> None:
        self.ended = False

    def run(self) -> None:
        Value(io.BytesIO(b"")).close()
        self.ended = True


@pytest.mark.parametrize(("events", "least"), [("call", 2), ("opcode", 10)])
def test_sweep_interrupts_each_moment_once_then_completes(events: Moments, least: int) -> None:
    checked: list[tuple[bool, bool]] = []

    number = sweep(
        Counter,
        Counter.run,
        lambda counter, error: checked.append((counter.ended, isinstance(error, KeyboardInterrupt))),
        events=events,
    )

    assert number >= least
    assert number == 2 if events == "call" else number < FOREVER
    assert checked == [(False, True)] * number + [(True, False)]


def test_failed_check_names_the_moment() -> None:
    def check(counter: Counter, error: BaseException | None) -> None:
        assert counter.ended

    with pytest.raises(AssertionError) as caught:
        sweep(Counter, Counter.run, check, error=MemoryError)

    assert "interrupted at moment 1, value.py:" in caught.value.__notes__[0]
