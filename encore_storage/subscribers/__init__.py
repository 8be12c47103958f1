"""Subscribers to the events of stores: logs, metrics, progress bars, summaries."""

from encore_storage.subscribers.bars import ProgressBars
from encore_storage.subscribers.logs import LogSubscriber
from encore_storage.subscribers.metrics import EncoreCollector, MetricsSubscriber
from encore_storage.subscribers.summary import SummarySubscriber

__all__ = ["EncoreCollector", "LogSubscriber", "MetricsSubscriber", "ProgressBars", "SummarySubscriber"]
