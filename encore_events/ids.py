"""Ids that are unique across threads, forked children and machines."""

from __future__ import annotations

import random

from encore_events.events import BaseEvent
from encore_events.forks import renew_in_child

__all__ = ["id_of", "new_id"]

_generators: dict[str, random.Random] = {}


def new_id() -> str:
    """Return 64 random bits as 16 hexadecimal digits, independent of the program's `random.seed`."""
    generator = _generators.get("ids") or _make_generator()
    return generator.getrandbits(64).to_bytes(8, "big").hex()  # takes half the time of formatting


def id_of(event: BaseEvent) -> str:
    """Return the event's id, made at the first call."""
    attributes = event.__dict__
    known: str = attributes.get("_encore_id") or attributes.setdefault("_encore_id", new_id())
    return known


def _make_generator() -> random.Random:
    generator = _generators.setdefault("ids", random.Random())  # noqa: S311 (unique, not secret)
    renew_in_child(generator, random.Random.seed)  # or a child would repeat its parent's ids
    return generator
