"""What a traceback shows of an error, and of those before it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def append_to_chain(error: BaseException, other: BaseException) -> None:
    """Have `other` shown with `error`, at the end of what is shown with `error` already."""
    shown = {id(one): one for one in _chain_of(error)}
    if id(other) in shown:
        return
    for one in itertools.takewhile(lambda one: id(one) not in shown, _chain_of(other)):
        if id(one.__context__) in shown:
            one.__context__ = None  # the error that was being handled: it is to come first, not last
    last = [*shown.values()][-1]
    last.__context__ = other
    last.__suppress_context__ = False


def _chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, and the earlier ones that a traceback shows with it."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__
