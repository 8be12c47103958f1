"""Subscribers to the events of stores: logs, metrics, progress bars, summaries."""

from typing import TYPE_CHECKING

from encore_events.lazy import lazy_names

if TYPE_CHECKING:
    from encore_storage.subscribers.bars import ProgressBars
    from encore_storage.subscribers.logs import LogSubscriber
    from encore_storage.subscribers.metrics import EncoreCollector, MetricsSubscriber
    from encore_storage.subscribers.summary import SummarySubscriber
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "bars": ("ProgressBars",),
            "logs": ("LogSubscriber",),
            "metrics": (
                "EncoreCollector",
                "MetricsSubscriber",
            ),
            "summary": ("SummarySubscriber",),
        },
    )

__all__ = ["EncoreCollector", "LogSubscriber", "MetricsSubscriber", "ProgressBars", "SummarySubscriber"]
