"""Ours beside the peers, in one process: `python -m benchmarks` prints the table."""
