"""Write all generated files to the repository."""

from __future__ import annotations

from dashboards.builder.artefacts import write

write()
