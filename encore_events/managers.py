"""The event managers of this process, for those who listen to all of them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial

from encore_events.abstract import BaseEventManager
from encore_events.loggers import get_logger

logger = get_logger("encore_events")

__all__ = ["announce", "follow_managers"]

Follower = Callable[[BaseEventManager], object]

_managers: dict[int, weakref.ref[BaseEventManager]] = {}
_followers = list[Follower]()
_numbers = itertools.count()


def follow_managers(follow: Follower) -> None:
    """Call `follow(manager)` for each event manager of this process, and for each that is made later.

    It may be called twice for one that another thread makes meanwhile.
    """
    _followers.append(follow)
    for reference in list(_managers.values()):
        manager = reference()
        if manager is not None:
            follow(manager)


def announce(manager: BaseEventManager) -> None:
    """Make a new event manager known."""
    number = next(_numbers)
    _managers[number] = weakref.ref(manager, partial(_managers.pop, number))  # as in forks.py, no interrupt is lost
    for follow in list(_followers):
        try:
            follow(manager)
        except Exception:
            logger.exception("%r could not follow a new event manager", follow)
