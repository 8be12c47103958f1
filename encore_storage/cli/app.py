"""The commands and their options."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from encore_events import EncoreError
from encore_run.command import run as run_program
from encore_storage.cli.address import EventsAddress
from encore_storage.cli.copy_command import run_copy
from encore_storage.cli.dashboards import RUNBOOK, write_dashboards
from encore_storage.cli.demo import run_demo
from encore_storage.cli.errors import (
    EXAMPLE,
    EventsAddressError,
    RefusedError,
    RunbookUrlError,
    StoreNameError,
    UnknownTypeError,
)
from encore_storage.cli.names import SCHEMES, StoreName
from encore_storage.cli.output import print_error
from encore_storage.cli.replay import run_replay
from encore_storage.cli.session import LogFormat, session
from encore_storage.cli.status import CLOSED, FAILED, INTERRUPTED, UNUSABLE
from encore_storage.cli.tail import run_tail
from encore_storage.recording import Recording
from encore_storage.recording.replaying import check_speed
from encore_storage.slo import Slo, SloError
from encore_storage.subscribers.errors import MissingExtraError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Serve a live page and metrics on this port of 127.0.0.1; 0: any.")
]
LogFile = Annotated[Path | None, typer.Option(help="Append a line for each operation to this file.")]
Format = Annotated[LogFormat, typer.Option(help="Format of the log file.")]
KeepServing = Annotated[bool, typer.Option("--keep-serving", help="Keep serving until Ctrl-C.")]

_CommandLineError: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""The error that typer raises for invalid arguments; it is from click, or from typer's own copy of click."""
_UNUSABLE_ARGUMENTS = (
    StoreNameError,
    SloError,
    RunbookUrlError,
    EventsAddressError,
    UnknownTypeError,
    RefusedError,
    MissingExtraError,
)


def run_command(arguments: list[str]) -> int:
    """Run a command and return its exit status; an error is one line on stderr."""
    try:
        status = int(app(args=arguments, prog_name="encore", standalone_mode=False) or 0)
    except _CommandLineError as error:
        context = getattr(error, "ctx", None)
        command = "encore" if context is None else context.command_path
        return _fail(f"{error.format_message().rstrip('.')}; see {command} --help", UNUSABLE)
    except _UNUSABLE_ARGUMENTS as error:
        return _fail(error, UNUSABLE)
    except SystemExit:  # from rich or typer, when standard output is closed
        return CLOSED
    except (KeyboardInterrupt, typer.Abort):  # newer versions of typer return the status instead
        status = INTERRUPTED
    except (EncoreError, OSError) as error:
        return _fail(error, FAILED)
    return _fail("interrupted", status) if status == INTERRUPTED else status


@app.callback(invoke_without_command=True)
def _encore(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,  # noqa: FBT002
) -> None:
    """Observable storage: bytes, latency, progress, transactions."""
    if version:
        typer.echo(f"encore {importlib.metadata.version('encore-observability')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def copy(  # noqa: PLR0913, PLR0917 (a command has its options)
    source: Annotated[str, typer.Argument(help=f"The store to copy from: {SCHEMES}.", show_default=False)],
    target: Annotated[str, typer.Argument(help=f"The store to copy to: {SCHEMES}.", show_default=False)],
    pattern: Annotated[str, typer.Option(help="Copy only keys that match; * matches / too.")] = "*",
    transaction_size: Annotated[int, typer.Option(min=1, help="Number of keys committed together.")] = 100,
    log_file: LogFile = None,
    log_format: Format = "json",
    port: Port = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress.")] = True,  # noqa: FBT002
    verify: Annotated[bool, typer.Option("--verify", help="Compare all bytes, and read back copied values.")] = False,  # noqa: FBT002
) -> int:
    """Copy every key of one store into another.

    Keys that are already up to date are skipped, so the same command resumes an interrupted copy. The exit status is 0
    only if everything was copied.
    """
    names = StoreName.parse(source), StoreName.parse(target)
    databases = [path for name in names if name.scheme == "sqlite" for path in name.files()]
    if log_file is not None and log_file.resolve() in databases:
        raise typer.BadParameter(f"--log-file {str(log_file)!r} is a file of a copied database: give another file")
    with session(log_file=log_file, log_format=log_format, port=port, progress=progress) as run_:
        return run_copy(
            run_, *names, pattern=pattern, transaction_size=transaction_size, verify=verify, log_file=log_file
        )


@app.command()
def demo(
    port: Port = 0,
    keep_serving: KeepServing = False,  # noqa: FBT002
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database and the log.")] = False,  # noqa: FBT002
) -> int:
    """Demonstrate Encore with real files: a copy, a rollback, a missing key, a slow reader, and observed clients."""
    return run_demo(port=port, keep_serving=keep_serving, keep=keep)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context) -> int:
    """Run any program, and print at its end what it did with S3, SQL, file systems and stores."""
    return run_program(context.args)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A file written by a Recorder.", show_default=False)],
    speed: Annotated[float, typer.Option(help="Factor on the original speed; inf does not wait.")] = 1.0,
    log_file: LogFile = None,
    log_format: Format = "json",
    port: Port = None,
    keep_serving: KeepServing = False,  # noqa: FBT002
) -> int:
    """Replay a recording with its original timing.

    Logs, metrics and the page show it as if it happened now. Rotated files of the recording come first.
    """
    try:
        check_speed(speed)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from error
    if log_file is not None and log_file.resolve() in {each.resolve() for each in Recording(file).files}:
        raise typer.BadParameter(f"--log-file {str(log_file)!r} is the recording itself: give another file")
    with session(
        log_file=log_file, log_format=log_format, port=0 if keep_serving and port is None else port, progress=True
    ) as run_:
        return run_replay(run_, file, speed, keep_serving=keep_serving)


@app.command()
def tail(  # noqa: PLR0913, PLR0917 (as above)
    url: Annotated[str, typer.Argument(help=f"The address of a page, such as {EXAMPLE}.", show_default=False)],
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="PATTERN", help="Only these types; * matches anything.")
    ] = None,
    store: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only events of these stores.")] = None,
    operation: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these operations.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these outcomes.")] = None,
    process: Annotated[list[int] | None, typer.Option(metavar="PID", min=1, help="Only these processes.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Start at a time (2026-11-24T16:30:00Z), seconds since the epoch, or an event id."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ENCORE_TOKEN", help="Access token of the program.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write each event as received: one line of JSON.")] = False,  # noqa: FBT002
) -> int:
    """Follow the events of another program, a line for each, until Ctrl-C.

    Started and progress events are hidden; --type '*' shows them. If the connection is lost, it reconnects and resumes
    after the last event received. Missed events and other notes go to standard error.
    """
    pids = [str(pid) for pid in process or ()]
    lists = {"type": type_, "store": store, "operation": operation, "outcome": outcome, "process": pids}
    query = [(name, value) for name, values in lists.items() for value in values or ()]
    if since is not None:
        query.append(("since", since))
    return run_tail(EventsAddress.parse(url), query, token=token or None, as_json=as_json)


@app.command()
def dashboards(
    directory: Annotated[Path, typer.Argument(help="Directory to write to.")] = Path("encore-dashboards"),
    objective: Annotated[float, typer.Option(help="Percentage of operations that must succeed.")] = Slo.objective,
    latency_target: Annotated[float, typer.Option(help="Seconds within which an operation is fast enough.")] = (
        Slo.latency_target
    ),
    runbook_url: Annotated[str, typer.Option(help="Address of the runbook in the alerts.")] = RUNBOOK,
    force: Annotated[bool, typer.Option("--force", help="Replace configuration too.")] = False,  # noqa: FBT002
) -> None:
    """Write Grafana dashboards, Prometheus rules and alerts, and a configuration to run them together.

    Dashboards and rules are always replaced. Configuration and runbook are kept, since you may have edited them.
    """
    slo = Slo(objective, latency_target)
    written = write_dashboards(directory, slo, runbook_url=runbook_url, force=force)
    for name in written.files:
        typer.echo(directory / name)
    for name in written.kept:
        typer.echo(f"kept (differs from this version; --force replaces it): {directory / name}")
    share = f"{slo.objective} %"
    typer.echo(f"objective: {share} of operations succeed, and {share} of answers take at most {slo.latency_target} s")


def _fail(problem: object, status: int) -> int:
    sentence = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename is not None:
        sentence = f"{problem.strerror}: {problem.filename!r}"
    print_error(" ".join(sentence.split()))
    return status
