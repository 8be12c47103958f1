"""Ids that no other operation has: not in another thread, in a forked child, or on another machine."""

from __future__ import annotations

import random

from encore_events.forks import renew_in_child

_generators: dict[str, random.Random] = {}


def new_id() -> str:
    """64 random bits, as 16 hexadecimal digits; a program's own `random.seed` has no part in them."""
    generator = _generators.get("ids") or _make_generator()
    return generator.getrandbits(64).to_bytes(8, "big").hex()  # half the time of formatting it


def _make_generator() -> random.Random:
    generator = _generators.setdefault("ids", random.Random())  # noqa: S311 (unique, not secret)
    renew_in_child(generator, random.Random.seed)  # or the child would go on as the parent does
    return generator
