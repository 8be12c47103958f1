"""Writes all that is built, in its place in the repository."""

from __future__ import annotations

from dashboards.builder.artefacts import write

write()
