"""The one registry of what a fork copies and a child must not go on with.

A fork copies locks whose holders do not exist in the child, counts of work that only the parent does, and descriptors
that both share. Whoever keeps such a thing registers it here, and is called in the child before anything else runs.

Most forks run these hooks. Those made in C (ctypes, some modes of uWSGI) do not: there `this_process()`, which stores
call before each write, finds out by the process id. It is the only place that does.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["Process", "around_forks", "current", "renew_in_child", "this_process"]

T = TypeVar("T")

Hook = Callable[[], object]

logger = logging.getLogger("encore_events")


class Process:
    """The identity of a process: a forked child has another one, also where it has the same process id later.

    Attributes:
        pid: its process id.
    """

    __slots__ = ("__weakref__", "pid")

    def __init__(self) -> None:
        """Make the identity of the calling process."""
        self.pid = os.getpid()

    def __repr__(self) -> str:
        """The process id."""
        return f"<Process {self.pid}>"


class _Hooks:
    """Functions by the order of their registration, each kept as long as the object that it is for."""

    def __init__(self) -> None:
        self._hooks: dict[int, Callable[[], object]] = {}
        self._numbers = itertools.count()

    def add(self, one: T, call: Callable[[T], object]) -> None:
        number, hooks = next(self._numbers), self._hooks
        reference = weakref.ref(one, lambda _: hooks.pop(number, None))

        def hook() -> object:
            living = reference()
            return None if living is None else call(living)

        hooks[number] = hook

    def run(self) -> None:
        """Call all of them, whatever one of them raises; free what they return only after the last."""
        self._run(list(self._hooks.values()))

    def run_backwards(self) -> None:
        """Call all of them, the latest first."""
        self._run(list(reversed(self._hooks.values())))

    def _run(self, hooks: Iterable[Hook]) -> None:
        returned, failures = list[object](), list[BaseException]()
        for hook in hooks:
            try:
                returned.append(hook())
            except BaseException as error:  # noqa: BLE001 (a fork goes on, and so does everybody else's renewal)
                failures.append(error)
        for failure in failures:
            logger.error("a hook of a fork failed", exc_info=failure)


current = Process()
"""The calling process, as far as hooks have seen its forks: what is compared where `this_process()` costs too much."""

_before, _in_parent, _in_child = _Hooks(), _Hooks(), _Hooks()

_noticing: dict[int, threading.RLock] = {}
"""By process id, the lock that the threads of a child take to notice its fork once; no other process ever held it."""


def this_process() -> Process:
    """Return the calling process, noticing forks that ran no hooks."""
    if current.pid != os.getpid():
        _notice(os.getpid())
    return current


def renew_in_child(one: T, renew: Callable[[T], object]) -> None:
    """Have `renew(one)` called in each child that is forked from now on, as long as somebody keeps `one`.

    No other thread runs at that time, no signal is handled, and `current` is the child already. What it raises is
    logged. What it returns is freed once everything is renewed, since a finalizer may use any of that.
    """
    this_process()  # or what a child makes would be taken for its parent's, where a fork ran no hooks
    _in_child.add(one, renew)


def around_forks(one: T, before: Callable[[T], object], after: Callable[[T], object]) -> None:
    """Have `before(one)` called before each fork, and `after(one)` behind it in the parent, by the forking thread.

    As with `os.register_at_fork`, who registered last is called first before the fork, and last behind it.
    """
    _before.add(one, before)
    _in_parent.add(one, after)


def _notice(pid: int) -> None:
    with _noticing.setdefault(pid, threading.RLock()):
        if current.pid != pid:
            _renew()


def _renew() -> None:
    global current  # noqa: PLW0603 (there is one process)
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, signal.valid_signals()
    )  # or an interrupt would leave it half done
    try:
        current = Process()
        _in_child.run()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


if hasattr(os, "register_at_fork"):  # pragma: no branch (where there are forks, it is there)
    os.register_at_fork(before=_before.run_backwards, after_in_parent=_in_parent.run, after_in_child=_renew)
