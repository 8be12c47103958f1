"""The `encore` command."""

from encore_storage.cli.entry import main

__all__ = ["main"]
