"""Unique ids, also across threads, forked children and machines."""

from __future__ import annotations

import random

from encore_events.events import BaseEvent
from encore_events.forks import renew_in_child

__all__ = ["id_of", "new_id"]

_generators: dict[str, random.Random] = {}


def new_id() -> str:
    """64 random bits, as 16 hexadecimal digits; a program's own `random.seed` has no part in them."""
    generator = _generators.get("ids") or _make_generator()
    return generator.getrandbits(64).to_bytes(8, "big").hex()  # half the time of formatting it


def id_of(event: BaseEvent) -> str:
    """Return the id of an event: made when somebody first asks, and the same for everybody who asks."""
    attributes = event.__dict__
    known: str = attributes.get("_id") or attributes.setdefault("_id", new_id())
    return known


def _make_generator() -> random.Random:
    generator = _generators.setdefault("ids", random.Random())  # noqa: S311 (unique, not secret)
    renew_in_child(generator, random.Random.seed)  # or the child would go on as the parent does
    return generator
