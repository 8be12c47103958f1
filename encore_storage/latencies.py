"""Durations, counted in buckets of 3 %."""

from __future__ import annotations

import math
from collections import Counter

_MIN_DURATION = 1e-9  # seconds
_STEPS = 32  # buckets in an octave: a resolution of 3 %


class Latencies(Counter[int]):
    """The number of durations in each bucket. Add others with `update`, and take them off with `subtract`."""

    def observe(self, duration: float) -> None:
        """Count a duration in seconds."""
        self[bucket_of(duration)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the duration in seconds that `share` of the durations did not exceed, or None; within 3 %."""
        rank = math.ceil(share * self.total())
        for bucket in sorted(self):
            rank -= self[bucket]
            if rank <= 0 and self[bucket]:
                return _middle_of(bucket)
        return None


def bucket_of(duration: float) -> int:
    """Return the bucket of a duration in seconds. Raises ValueError or OverflowError for what is no finite number."""
    mantissa, exponent = math.frexp(max(duration, _MIN_DURATION))
    return exponent * _STEPS + int((mantissa - 0.5) * 2 * _STEPS)


def _middle_of(bucket: int) -> float:
    exponent, step = divmod(bucket, _STEPS)
    return math.ldexp(0.5 + (step + 0.5) / _STEPS / 2, exponent)
