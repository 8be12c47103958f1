"""Counts of a period, which can be added, subtracted and sent to another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from encore_storage.latencies import Latencies


@dataclass(slots=True)
class Counts:
    """The base of counts: durations, and the numbers of `NAMES`.

    Attributes:
        version: the version of what contains the counts at their latest change.
        latencies: the durations of the operations.
    """

    NAMES: ClassVar[tuple[str, ...]] = ()

    version: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, other: Self) -> None:
        """Add the counts of `other`."""
        self.version = max(self.version, other.version)
        for name in self.NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latencies.update(other.latencies)

    def subtract(self, other: Self) -> None:
        """Subtract the counts of `other`."""
        for name in self.NAMES:
            setattr(self, name, getattr(self, name) - getattr(other, name))
        self.latencies.subtract(other.latencies)

    def message(self) -> list[Any]:
        """Return the counts as JSON: the numbers, then the buckets of durations and how many are in each."""
        return [[getattr(self, name) for name in self.NAMES], [one for pair in self.latencies.items() for one in pair]]

    @classmethod
    def of(cls, message: Sequence[Any]) -> Self:
        """Return the counts of a message. Raises ValueError or TypeError if it is none."""
        numbers, buckets = message
        counts = cls()
        for name, number in zip(cls.NAMES, numbers, strict=True):
            setattr(counts, name, int(number))
        counts.latencies.update({int(bucket): int(count) for bucket, count in _pairs(buckets)})
        return counts


def _pairs(values: Sequence[Any]) -> zip[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)
