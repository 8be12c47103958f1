"""Interrupts: steps that go on after one, the blocks that one has cut off, and the chain of errors around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import TracebackType

from encore_events.delivery import is_first_step
from encore_storage.errors import is_interrupt

_ENTRIES = "encore_storage.transactions.contexts"
"""The module of the functions that enter and leave the blocks of transactions."""

_EXITS = "encore_storage.stores.changing encore_storage.observing.progress"
"""The modules of the blocks of operations."""


def go_on(step: Callable[[BaseException | None], object], error: BaseException | None, attempts: int = 3) -> None:
    """Call `step(error)`; where it raises, call it again with that, so that it goes on with what is left.

    Raises:
        BaseException: the first exception of the step, after the other attempts.
    """
    try:
        step(error)
    except BaseException as failure:
        if attempts > 1:
            go_on(step, failure, attempts - 1)
        raise


def append_to_chain(error: BaseException, other: BaseException) -> None:
    """Have `other` shown with `error`, at the end of what is shown with `error` already."""
    shown = {id(one): one for one in chain_of(error)}
    if id(other) in shown:
        return
    for one in itertools.takewhile(lambda one: id(one) not in shown, chain_of(other)):
        if id(one.__context__) in shown:
            one.__context__ = None  # the error that was being handled: it is to come first, not last
    last = [*shown.values()][-1]
    last.__context__ = other
    last.__suppress_context__ = False


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, and the earlier ones that a traceback shows with it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__


def blocks_in(traceback: TracebackType | None) -> Iterator[object]:
    """Yield the blocks of transactions that were being entered or left where the error passed through."""
    for step in _steps(traceback, _ENTRIES):
        frame = step.tb_frame
        yield frame.f_locals.get("block")
        if frame.f_code.co_name == "__exit__" and is_first_step(step):
            yield from frame.f_locals["self"].innermost


def end_cut_off(error: BaseException | None) -> None:
    """End what an interrupt has cut off in its exit, the innermost first.

    Otherwise that ends when it is collected. But who is told of the interrupt may keep it, and with its traceback all
    that was under way.
    """
    if error is None or not is_interrupt(error) or error.__traceback__ is None:
        return
    exits = [step.tb_frame.f_locals["self"] for step in _steps(error.__traceback__, _EXITS, "__exit__")]
    for each in reversed([*exits, *blocks_in(error.__traceback__)]):
        if each is not None:
            each.end_cut_off(error)


def _steps(traceback: TracebackType | None, module: str, function: str | None = None) -> Iterator[TracebackType]:
    """Yield the steps of a traceback in functions of a module, or of one name in it."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") in module.split() and function in {None, frame.f_code.co_name}:
            yield traceback
        traceback = traceback.tb_next
