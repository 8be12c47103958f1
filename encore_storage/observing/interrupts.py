"""Interrupts: retrying interrupted steps, ending interrupted blocks, and chaining errors.

A KeyboardInterrupt, or any exception of a signal handler, may be raised between any two steps of Python.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import TracebackType

from encore_events.delivery import is_first_step
from encore_storage.errors import is_interrupt

_BLOCK_MODULE = "encore_storage.transactions.contexts"  # enters and leaves blocks
_OPERATION_MODULES = "encore_storage.stores.changing encore_storage.observing.progress"  # of `__exit__`


def retry(step: Callable[[BaseException | None], object], error: BaseException | None, attempts: int = 3) -> None:
    """Call `step(error)`; if it raises, call it again with that exception, so that it resumes. Raise the last one."""
    try:
        step(error)
    except BaseException as failure:
        if attempts > 1:
            retry(step, failure, attempts - 1)
        raise


def append_to_chain(error: BaseException, other: BaseException) -> None:
    """Have tracebacks show `other` with `error`, after what they show with it already."""
    shown = {id(one): one for one in chain_of(error)}
    if id(other) in shown:
        return
    for one in itertools.takewhile(lambda one: id(one) not in shown, chain_of(other)):
        if id(one.__context__) in shown:
            one.__context__ = None  # it is shown already, and this link would close a cycle
    last = [*shown.values()][-1]
    last.__context__ = other
    last.__suppress_context__ = False


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and the earlier ones that a traceback shows with it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__


def blocks_in(traceback: TracebackType | None) -> Iterator[object]:
    """Yield the blocks of transactions that were being entered or left when an error was raised."""
    for entry in _entries(traceback, _BLOCK_MODULE):
        frame = entry.tb_frame
        yield frame.f_locals.get("block")
        if frame.f_code.co_name == "__exit__" and is_first_step(entry):
            yield from frame.f_locals["self"].innermost


def end_interrupted(error: BaseException | None) -> None:
    """End the blocks and operations that an interrupt kept from ending in their exits, the innermost first.

    They would end when they are collected. But a listener that keeps the interrupt keeps its traceback as well, and
    with that everything in progress.
    """
    if error is None or not is_interrupt(error) or error.__traceback__ is None:
        return
    entries = _entries(error.__traceback__, _OPERATION_MODULES, "__exit__")
    operations = [entry.tb_frame.f_locals["self"] for entry in entries]
    for each in reversed([*operations, *blocks_in(error.__traceback__)]):
        if each is not None:
            each.end_interrupted(error)


def _entries(traceback: TracebackType | None, modules: str, function: str | None = None) -> Iterator[TracebackType]:
    """Yield the entries of a traceback in functions of the modules, or in those of one name."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") in modules.split() and function in {None, frame.f_code.co_name}:
            yield traceback
        traceback = traceback.tb_next
