"""A registry of what must be renewed in a forked child.

A fork copies locks whose holders do not exist in the child, counts of work that only the parent does, and descriptors
that both share. Objects that keep such things register a hook here. It runs in the child before anything else does.

Forks made in C (ctypes, uWSGI) do not run the hooks of `os.register_at_fork`. `this_process()` detects these by a page
of memory that the kernel clears in each child, or by the process id. Operations and transactions call it as they start.
"""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from encore_events.loggers import get_logger

__all__ = ["Process", "around_forks", "current", "first", "renew_in_child", "this_process"]

T = TypeVar("T")

Hook = Callable[[], object]

logger = get_logger("encore_events")


class Process:
    """The identity of a process. Unlike its `pid`, no later process has the same one."""

    __slots__ = ("__weakref__", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __repr__(self) -> str:
        return f"<Process {self.pid}>"


class _Hooks:
    """Functions in the order of their registration, each kept as long as its object."""

    def __init__(self) -> None:
        self._hooks: dict[int, Hook] = {}
        self._numbers = itertools.count()

    def add(self, one: T, call: Callable[[T], object]) -> None:
        number, hooks = next(self._numbers), self._hooks
        # The reference is the default of `pop`. An interrupt would be lost in a function of Python that is called here.
        reference = weakref.ref(one, partial(hooks.pop, number))

        def hook() -> object:
            living = reference()
            return None if living is None else call(living)

        hooks[number] = hook

    def run(self, *, backwards: bool = False) -> list[BaseException]:
        """Call all functions, and return what they raised."""
        hooks = list(self._hooks.values())
        returned = list[object]()  # freed after the last hook
        failures = list[BaseException]()
        for hook in reversed(hooks) if backwards else hooks:
            try:
                returned.append(hook())
            except BaseException as error:  # noqa: BLE001 (a fork goes on, and so do all other hooks)
                failures.append(error)
        return failures


current = Process()
"""The calling process, cheap to compare. It misses forks that ran no hooks until `this_process()` is called."""

first = current
"""The process that imported this module. In any other one, locks may be copies that no thread will release."""

_before, _in_parent, _in_child = _Hooks(), _Hooks(), _Hooks()

_locks: dict[int, threading.RLock] = {}
"""By process id: the lock with which a child's threads renew once. No other process can have held it at the fork."""

_renewed = current.pid
"""The id of the process in which all hooks have run. Until then, other threads of a child have to wait."""


_MADV_WIPEONFORK = 18  # of Linux; the module mmap has no name for it


def _page_cleared_by_forks() -> mmap.mmap | None:
    try:
        page = mmap.mmap(-1, 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError):  # another system than Linux
        return None
    page[0] = 1
    return page


_page = _page_cleared_by_forks()
"""Its first byte is 1 in the process in which all hooks have run, and 0 in a child: a third of the time of getpid()."""


def this_process() -> Process:
    """Return the calling process, after detecting a fork that ran no hooks."""
    if _page is None or not _page[0]:
        _detect_fork()
    return current


def _detect_fork() -> None:
    pid = os.getpid()
    if _renewed != pid:
        with _locks.setdefault(pid, threading.RLock()):
            failures = _renew() if current.pid != pid else []  # otherwise, a hook has called this
        _log(failures)  # not under the lock, which a logging handler may wait for


def renew_in_child(one: T, renew: Callable[[T], object]) -> None:
    """Call `renew(one)` in each child forked from now on, as long as `one` is alive.

    No other thread runs then, signals are blocked, and `current` is the child already. Exceptions are logged. Return
    values are freed after the last renewal, because a finalizer may use anything that is renewed.
    """
    this_process()  # or, after a fork without hooks, `one` would be taken for the parent's
    _in_child.add(one, renew)


def around_forks(one: T, before: Callable[[T], object], after: Callable[[T], object]) -> None:
    """Call `before(one)` before each fork and `after(one)` after it in the parent, in the forking thread.

    As with `os.register_at_fork`, the last registered is called first before a fork, and last after it.
    """
    _before.add(one, before)
    _in_parent.add(one, after)


def _renew() -> list[BaseException]:
    global current, _renewed  # noqa: PLW0603 (there is one process)
    # An interrupt would leave the renewal half done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        current = Process()
        return _in_child.run()
    finally:
        _renewed = os.getpid()
        if _page is not None:
            _page[0] = 1
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _log(failures: list[BaseException]) -> None:
    for failure in failures:
        logger.error("a hook of a fork failed", exc_info=failure)


if hasattr(os, "register_at_fork"):  # pragma: no branch (it exists wherever forks do)
    os.register_at_fork(
        before=lambda: _log(_before.run(backwards=True)),
        after_in_parent=lambda: _log(_in_parent.run()),
        after_in_child=lambda: _log(_renew()),
    )
