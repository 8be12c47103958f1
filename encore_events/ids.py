"""Ids that no other operation has: not in another thread, in a forked child, or on another machine."""

from __future__ import annotations

import os
import random

_generators: dict[str, random.Random] = {}


def new_id() -> str:
    """64 random bits, as 16 hexadecimal digits; a program's own `random.seed` has no part in them."""
    generator = _generators.get("ids") or _make_generator()
    return generator.getrandbits(64).to_bytes(8, "big").hex()  # half the time of formatting it


def _make_generator() -> random.Random:
    generator = _generators.setdefault("ids", random.Random())  # noqa: S311 (unique, not secret)
    if hasattr(os, "register_at_fork"):  # pragma: no branch (where there are forks, it is there)
        os.register_at_fork(after_in_child=generator.seed)  # or the child would go on as the parent does
    return generator
