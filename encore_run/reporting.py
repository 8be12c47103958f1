"""The process that prints the report of a run. It imports no more of Encore than that needs, since every run waits."""

from __future__ import annotations

import importlib.util
import runpy
import sys


def main() -> None:
    """Run `python -m encore_storage.run` without what `encore_events` and `encore_storage` re-export."""
    for name in ("encore_events", "encore_storage"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(name=name)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # with its path, and not executed
    runpy.run_module("encore_storage.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
