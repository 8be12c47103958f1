"""Encore compared with its peers in one process: `python -m benchmarks` prints the table."""
