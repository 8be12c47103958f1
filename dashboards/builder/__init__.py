"""Builds dashboards, rules and their documents from the catalogue of metrics: `python -m dashboards.builder`."""
