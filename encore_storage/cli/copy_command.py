"""The command `encore copy`."""

from __future__ import annotations

from pathlib import Path

from encore_storage.cli.copying import CopyJob
from encore_storage.cli.names import StoreName
from encore_storage.cli.output import print_error
from encore_storage.cli.overlap import check_apart, keys_in
from encore_storage.cli.session import Session
from encore_storage.cli.source import Skipped, SourceDirectory, count_by_kind, select_skipped
from encore_storage.cli.status import FAILED
from encore_storage.stores.abstract import AbstractStore

_IN_USE = "this command uses the file of that name in the target"


def run_copy(
    run: Session,
    source: StoreName,
    target: StoreName,
    *,
    pattern: str,
    transaction_size: int,
    verify: bool,
    log_file: Path | None,
) -> int:
    """Copy, print the result, and return the exit status, 0 if all is copied. Raises StoreError and OSError."""
    check_apart(source, target)
    logs = [] if log_file is None else [log_file.resolve()]
    reserved = dict.fromkeys(keys_in(target, [*source.files(), *logs]), _IN_USE)
    run.print_addresses()
    with source.open_source(run.manager, own=[*target.files(), *logs]) as from_, target.open_target(run.manager) as to:
        job = CopyJob(from_, to, transaction_size=transaction_size, verify=verify, reserved=reserved)
        try:
            keys = list(from_.glob(pattern))
            skipped = _print_skipped(run, from_, pattern)
            if not keys and pattern != "*":
                run.print(f"no key in the source matches the pattern {pattern!r}")
            job.run(keys)
        except BaseException:
            run.print(f"stopped: {job.report}; run the same command again to copy the rest")
            raise
        finally:
            run.print_summary()
    run.print(str(job.report))
    for key, reason in job.report.failed.items():
        print_error(f"failed to copy {key!r}: {reason}")
    was_listed_whole = all(one.kind != "unreadable directory" for one in skipped.values())
    return 0 if job.report.is_complete and was_listed_whole else FAILED


def _print_skipped(run: Session, source: AbstractStore, pattern: str) -> dict[str, Skipped]:
    if not isinstance(source, SourceDirectory):
        return {}
    skipped = select_skipped(source.skipped, pattern)
    for path, one in skipped.items():
        print_error(f"skipped {path!r}: {one.reason}")
    if skipped:
        run.print(f"skipped: {count_by_kind(skipped)}")
    return skipped
