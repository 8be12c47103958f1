"""Resources that take long to start: consecutive tests of one fixture share them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, TypeVar

import pytest

T = TypeVar("T")


class Shared(Generic[T]):
    """A resource of the tests that use the fixture `name`, stopped before the first test without it.

    Args:
        name: the name of the fixture.
        start: starts the resource, and enters into the stack what is to be stopped.
    """

    def __init__(self, name: str, start: Callable[[ExitStack], T]) -> None:
        self._name = name
        self._start = start
        self._started = pytest.StashKey[T]()
        self._running = pytest.StashKey[ExitStack]()

    def get(self, config: pytest.Config) -> T:
        """Return the resource, started by the first test."""
        stash = config.stash
        if self._started not in stash:
            with ExitStack() as starting:
                stash[self._started] = self._start(starting)
                stash[self._running] = starting.pop_all()
                config.add_cleanup(stash[self._running].close)  # if the run is interrupted
        return stash[self._started]

    def stop_before(self, nextitem: pytest.Item | None, config: pytest.Config) -> None:
        """Stop the resource unless the next test uses it."""
        if self._started in config.stash and self._name not in getattr(nextitem, "fixturenames", ()):
            del config.stash[self._started]
            config.stash[self._running].close()
