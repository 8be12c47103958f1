"""Build dashboards, rules and their documents from the metric catalogue: `python -m dashboards.builder`."""
