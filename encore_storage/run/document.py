"""The report of a run as JSON, see `docs/schemas/run-summary.json`."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from encore_storage.run.report import OperationReport, RunReport, StoreReport

VERSION = 1

_TRANSACTION_OUTCOMES = ("committed", "rolled_back", "closed", "commit_failed", "rollback_failed")


def document(report: RunReport, seconds: float | None = None) -> dict[str, Any]:
    """Return the report as what JSON can express.

    Args:
        report: the report.
        seconds: the time that the program ran, or None if it isn't known.
    """
    return {
        "version": VERSION,
        "seconds": seconds,
        "processes": report.processes,
        "running": report.running,
        "unreadable": report.unreadable,
        "count": report.count,
        "storage_seconds": report.seconds,
        "stores": [_store(store) for store in report.stores],
        "slowest": report.slowest,
        "errors": report.errors,
    }


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Write the document as one change. Raises OSError."""
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    data = text.encode(errors="replace")  # a name may have a lone surrogate, which is no text
    if path.exists() and (not path.is_file() or _is_output(path)):
        with path.open("ab") as file:
            file.write(data)
        return
    target = Path(os.path.realpath(path))
    made = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        made.write_bytes(data)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)


def _is_output(path: Path) -> bool:
    """Return whether the path is the file that stdout or stderr is redirected to, such as /dev/stdout."""
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(number)):
                return True
    return False


def _store(store: StoreReport) -> dict[str, Any]:
    return {
        "store": store.name,
        "backend": store.backend,
        "seconds": store.seconds,
        "operations": [_operation(one) for one in store.operations],
        "transactions": {
            **{outcome: store.transactions[outcome] for outcome in _TRANSACTION_OUTCOMES},
            "seconds": store.transaction_seconds,
        },
        "rollbacks": [{"place": place or None, "count": count} for place, count in store.rollbacks.most_common()],
    }


def _operation(one: OperationReport) -> dict[str, Any]:
    return {
        "operation": one.name,
        "count": one.count,
        "misses": one.outcomes["miss"],
        "errors": one.outcomes["error"],
        "cancelled": one.outcomes["cancelled"],
        "hit_ratio": one.hit_ratio,
        "retries": one.retries,
        "bytes": one.bytes,
        "moving_seconds": one.moving_seconds,
        "bytes_per_second": one.bytes_per_second,
        "seconds": one.seconds,
        "p50": one.latencies.quantile(0.5),
        "p99": one.latencies.quantile(0.99),
    }
