"""The rules by which blocks of several processes become one.

The first item of a key has a character for each cell of its block:

| character | merged | after the process has ended |
|---|---|---|
| `+` | the sum | kept |
| `>` | the largest | kept |
| `=` | taken from the block whose first cell is the largest | kept |
| `~` | the sum | dropped, with the whole block |
| `<` | the smallest that is not zero | dropped, with the whole block |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from encore_storage.processes.cells import Key

Blocks = Mapping[Key, Sequence[float]]
"""The values of blocks, by their keys."""


def is_live(key: Key) -> bool:
    """Return whether the block describes what a living process does now."""
    return "~" in key[0] or "<" in key[0]


def merge(parts: Iterable[Blocks]) -> Blocks:
    """Merge the blocks of several processes.

    >>> merge([{("+>", "get"): [1, 7]}, {("+>", "get"): [2, 5], ("+", "set"): [1]}])
    {('+>', 'get'): [3, 7], ('+', 'set'): [1]}
    """
    first, *others = [blocks for blocks in parts if blocks] or [{}]
    if not others:
        return first
    merged = dict(first)
    for blocks in others:
        for key, values in blocks.items():
            before = merged.get(key)
            merged[key] = values if before is None else _merged(key[0], before, values)
    return merged


def _merged(rules: str, one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    if "=" in rules:
        return max(one, other, key=lambda values: values[0])
    return [_cell(*cells) for cells in zip(rules, one, other, strict=True)]


def _cell(rule: str, one: float, other: float) -> float:
    if rule == ">":
        return max(one, other)
    if rule == "<":
        return min(one, other) if one and other else one or other
    return one + other
