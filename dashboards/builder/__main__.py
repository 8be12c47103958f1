"""Writes all that is built, in its place in the repository."""

from __future__ import annotations

from dashboards.builder.artefacts import ROOT, artefacts


def main() -> None:
    """Build everything again; what is committed must be what this writes."""
    for path, text in artefacts().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
