"""The commands, their options, and what they say."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from encore_events import EncoreError
from encore_storage.cli.address import EXAMPLE, EventsAddress, EventsAddressError, RefusedError
from encore_storage.cli.copy_command import run_copy
from encore_storage.cli.dashboards import RUNBOOK, RunbookUrlError, write_dashboards
from encore_storage.cli.demo import run_demo
from encore_storage.cli.names import SCHEMES, StoreName, StoreNameError
from encore_storage.cli.output import complain
from encore_storage.cli.replay import run_replay
from encore_storage.cli.session import session
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


_CommandLineError: type[Any] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""What typer raises for bad arguments; it comes from click, or from the copy of it that typer brings."""


def run(arguments: list[str]) -> int:
    """Run one command; the exit status. What goes wrong is one line on stderr."""
    try:
        status = int(app(args=arguments, prog_name="encore", standalone_mode=False) or 0)
    except _CommandLineError as error:
        context = getattr(error, "ctx", None)
        command = "encore" if context is None else context.command_path
        return _complain(f"{error.format_message().rstrip('.')}; see {command} --help", UNUSABLE)
    except (StoreNameError, SloError, RunbookUrlError, EventsAddressError, RefusedError, MissingExtraError) as error:
        return _complain(error, UNUSABLE)
    except SystemExit:  # of rich and of typer, where nobody reads standard output any more
        return CLOSED
    except (KeyboardInterrupt, typer.Abort):  # newer versions of typer give the status instead
        status = INTERRUPTED
    except (EncoreError, OSError) as error:
        return _complain(error, FAILED)
    return _complain("interrupted", status) if status == INTERRUPTED else status


@app.callback(invoke_without_command=True)
def _encore(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,  # noqa: FBT002
) -> None:
    """Storage that shows what it does: bytes, latency, progress, transactions."""
    if version:
        typer.echo(f"encore {importlib.metadata.version('encore-observability')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def copy(  # noqa: PLR0913, PLR0917 (a command has its options)
    source: Annotated[str, typer.Argument(help=f"Where from: {SCHEMES}.", show_default=False)],
    target: Annotated[str, typer.Argument(help=f"Where to: {SCHEMES}.", show_default=False)],
    pattern: Annotated[str, typer.Option(help="Copy only keys that match; * matches / too.")] = "*",
    transaction_size: Annotated[int, typer.Option(min=1, help="How many keys are committed together.")] = 100,
    log_file: Annotated[Path | None, typer.Option(help="Append a line for each operation to this file.")] = None,
    log_format: Annotated[Literal["json", "console"], typer.Option(help="How those lines are written.")] = "json",
    port: Port = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show bars, or lines.")] = True,  # noqa: FBT002
    verify: Annotated[bool, typer.Option("--verify", help="Compare all bytes, and read back what is written.")] = False,  # noqa: FBT002
) -> int:
    """Copy every key of one store into another.

    What arrived before and was not changed since, here or there, is skipped, so the same command again finishes the
    rest. The exit status is 0 only if the target holds all that the source holds.
    """
    names = StoreName.parse(source), StoreName.parse(target)
    databases = [path for name in names if name.scheme == "sqlite" for path in name.files()]
    if log_file is not None and log_file.resolve() in databases:
        raise typer.BadParameter(f"--log-file {str(log_file)!r} is a part of what is copied: give another file")
    with session(log_file=log_file, log_format=log_format, port=port, progress=progress) as run_:
        return run_copy(
            run_, *names, pattern=pattern, transaction_size=transaction_size, verify=verify, log_file=log_file
        )


@app.command()
def demo(
    port: Port = 0,
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Go on until Ctrl-C.")] = False,  # noqa: FBT002
    keep: Annotated[bool, typer.Option("--keep", help="Keep its database and its log.")] = False,  # noqa: FBT002
) -> int:
    """Show what Encore does, with real files: copies, a rollback, a missing key, a slow reader."""
    return run_demo(port=port, keep_serving=keep_serving, keep=keep)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="What a Recorder has written.", show_default=False)],
    speed: Annotated[float, typer.Option(help="How many times as fast as it happened; inf doesn't wait.")] = 1.0,
    log_file: Annotated[Path | None, typer.Option(help="Append a line for each operation to this file.")] = None,
    log_format: Annotated[Literal["json", "console"], typer.Option(help="How those lines are written.")] = "json",
    port: Port = None,
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Go on until Ctrl-C.")] = False,  # noqa: FBT002
) -> int:
    """Have a recording happen again: events at the pace and with the times that they had.

    Logs, metrics and the page show it as if it were now; files that the recording moved aside come first.
    """
    try:
        check_speed(speed)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from error
    if log_file is not None and log_file.resolve() in {each.resolve() for each in Recording(file).files}:
        raise typer.BadParameter(f"--log-file {str(log_file)!r} is the recording itself")
    with session(
        log_file=log_file, log_format=log_format, port=0 if keep_serving and port is None else port, progress=True
    ) as run_:
        return run_replay(run_, file, speed, keep_serving=keep_serving)


@app.command()
def tail(
    url: Annotated[str, typer.Argument(help=f"The address of a page, such as {EXAMPLE}.", show_default=False)],
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="PATTERN", help="Only these types; * matches anything.")
    ] = None,
    store: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only events of these stores.")] = None,
    operation: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these operations.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only what ended like this.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Begin in the past: a time (2026-11-24T16:30:00Z), seconds, or an event id."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ENCORE_TOKEN", help="What the program asks for.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write each event as it came: one line of JSON.")] = False,  # noqa: FBT002
) -> int:
    """Follow the events of another program, a line for each, until Ctrl-C.

    Lines tell how operations and transactions ended, not how they began or how far they are: --type '*' shows all.
    Where the connection is lost, it tries again, and goes on after the last event that it saw. What was missed, and
    all else that is no event, is told on standard error.
    """
    asked = {
        "type": type_,
        "store": store,
        "operation": operation,
        "outcome": outcome,
        "since": None if since is None else [since],
    }
    query = [(name, value) for name, values in asked.items() for value in values or ()]
    return run_tail(EventsAddress.parse(url), query, token=token or None, as_json=as_json)


@app.command()
def dashboards(
    directory: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("encore-dashboards"),
    objective: Annotated[float, typer.Option(help="Per cent of operations that must succeed.")] = Slo.objective,
    latency_target: Annotated[float, typer.Option(help="Seconds within which answers are fast enough.")] = (
        Slo.latency_target
    ),
    runbook_url: Annotated[str, typer.Option(help="Where the alerts say that the runbook is.")] = RUNBOOK,
    force: Annotated[bool, typer.Option("--force", help="Replace configuration, too.")] = False,  # noqa: FBT002
) -> None:
    """Write Grafana dashboards, Prometheus rules and alerts, and how to run them together.

    Dashboards and rules are written anew each time; configuration and runbook, which may be yours by now, are kept.
    """
    slo = Slo(objective, latency_target)
    written = write_dashboards(directory, slo, runbook_url=runbook_url, force=force)
    for name in written.files:
        typer.echo(directory / name)
    for name in written.kept:
        typer.echo(f"kept, since it is not what this version writes (--force replaces it): {directory / name}")
    typer.echo(f"objective: {slo.objective} % of operations succeed, and answers arrive within {slo.latency_target} s")


def _complain(problem: object, status: int) -> int:
    sentence = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename is not None:
        sentence = f"{problem.strerror}: {problem.filename!r}"
    complain(" ".join(sentence.split()))
    return status
