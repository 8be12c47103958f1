"""The command `encore copy`: what it refuses, what it says, and its exit status."""

from __future__ import annotations

from pathlib import Path

from encore_storage.cli.copying import CopyJob, CopyReport
from encore_storage.cli.names import StoreName
from encore_storage.cli.output import complain
from encore_storage.cli.overlap import check_apart, keys_in
from encore_storage.cli.session import Session
from encore_storage.cli.source import Skipped, SourceDirectory, counted, matching
from encore_storage.cli.status import FAILED
from encore_storage.stores.abstract import AbstractStore

_OURS = "this command reads or writes the file in its place in the target"


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
    """Copy, and say what arrived; the exit status, which is 0 only if all of it did.

    Raises:
        StoreNameError: source and target can't be copied into each other, or the source isn't there.
        StoreError, OSError: the source can't be listed, or the target fails.
    """
    check_apart(source, target)
    logs = [] if log_file is None else [log_file.resolve()]
    taken = dict.fromkeys(keys_in(target, [*source.files(), *logs]), _OURS)
    run.say_addresses()
    with source.open_source(run.manager, own=[*target.files(), *logs]) as from_, target.open_target(run.manager) as to:
        job = CopyJob(from_, to, transaction_size=transaction_size, verify=verify, taken=taken)
        try:
            keys = list(from_.glob(pattern))
            skipped = _told_skipped(run, from_, pattern)
            if not keys and pattern != "*":
                run.say(f"no key of the source matches the pattern {pattern!r}")
            job.run(keys)
        except BaseException:
            run.say(f"stopped: {_told(job.report)}; the same command again copies the rest")
            raise
        finally:
            run.show_summary()
    run.say(_told(job.report))
    for key, reason in job.report.failed.items():
        complain(f"{key!r} did not arrive: {reason}")
    was_read_whole = all(one.kind != "unreadable directory" for one in skipped.values())
    return 0 if job.report.is_complete and was_read_whole else FAILED


def _told_skipped(run: Session, source: AbstractStore, pattern: str) -> dict[str, Skipped]:
    """Name and count what was skipped; give it."""
    if not isinstance(source, SourceDirectory):
        return {}
    skipped = matching(source.skipped, pattern)
    for path, one in skipped.items():
        complain(f"{path!r} was skipped: {one.reason}")
    if skipped:
        run.say(f"skipped: {counted(skipped)}")
    return skipped


def _told(report: CopyReport) -> str:
    skipped = f" ({report.skipped:,} of them before)" if report.skipped else ""
    failed = f", {len(report.failed):,} failed" if report.failed else ""
    return f"{report.arrived:,} of {report.total:,} keys have arrived{skipped}{failed}"
