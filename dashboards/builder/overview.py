"""The overview dashboard."""

from __future__ import annotations

from dashboards.builder import activity, clients, health
from dashboards.builder.header import HEADER
from dashboards.builder.model import Board

OVERVIEW = Board(
    uid="encore-overview",
    title="Encore / Overview",
    description=(
        "All stores of the selected jobs: traffic, errors, latency, bytes, hits, retries, saturation and transactions, "
        "and the health of Encore itself."
    ),
    sections=(
        HEADER,
        activity.TRAFFIC,
        activity.ERRORS,
        activity.LATENCY,
        activity.BYTES,
        clients.CLIENTS,
        health.SATURATION,
        health.TRANSACTION_SECTION,
        health.LIBRARY,
        health.PROCESS,
    ),
)
