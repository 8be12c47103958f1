"""The dashboard of everything: how all stores do, and where to look next."""

from __future__ import annotations

from dashboards.builder import activity, health
from dashboards.builder.header import HEADER
from dashboards.builder.model import Board

OVERVIEW = Board(
    uid="encore-overview",
    title="Encore / Overview",
    description=(
        "How all stores of the chosen jobs do: traffic, errors, latency, bytes, saturation and transactions, "
        "and the health of what observes them."
    ),
    sections=(
        HEADER,
        activity.TRAFFIC,
        activity.ERRORS,
        activity.LATENCY,
        activity.BYTES,
        health.SATURATION,
        health.TRANSACTION_SECTION,
        health.LIBRARY,
        health.PROCESS,
    ),
)
