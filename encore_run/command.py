"""The `encore` command: `encore run` is handled here, without importing Encore, and all others by their package."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence

from encore_run.arguments import make_parser, split
from encore_run.directory import RunDirectory
from encore_run.environments import inherited, of_the_report
from encore_run.options import OPTIONS, OptionError, Options
from encore_run.process import Process, StartError
from encore_run.program import DIRECTORY, PROCESS, command_of, name_of, variables_of

_INTERRUPTED = 130


def main() -> None:
    """Run the `encore` command with the arguments of the process, and exit."""
    if sys.argv[1:2] == ["run"]:
        sys.exit(run(sys.argv[2:]))
    from encore_storage.cli import main as others  # noqa: PLC0415 (`encore run` does not need them)

    others()


def run(arguments: Sequence[str]) -> int:
    """Run a program with the arguments of `encore run`, and return the exit status."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # before the program was started
        return _INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    words, program = split(arguments)
    parser = make_parser()
    given = vars(parser.parse_args(words))
    variables = {option.variable: os.environ.get(option.variable, "") for option in OPTIONS}
    if os.environ.get(DIRECTORY):  # in another run, whose port and file these are
        variables |= {"ENCORE_PORT": "", "ENCORE_JSON": ""}
    variables |= {option.variable: given[option.field] for option in OPTIONS if given.get(option.field) is not None}
    try:
        options = Options.of(variables)
        if options.port is not None:
            options = _with_port(options)
    except OptionError as error:
        named = error.option if error.option is not None and given.get(_field_of(error.variable)) else error.variable
        parser.error(f"{named}: {error.reason}")
    texts = {name: text for name, text in _texts(options, variables).items() if text}
    if given["environment"]:
        for name, text in variables_of(texts, {}).items():
            print(f"{name}={text}")
        return 0
    if not any(program[:1]) or program in (["-m"], ["-c"]):
        parser.error("no program was given: pass a .py file, -m and a module, -c and code, or a command")
    return _observe(options, texts, program)


def _observe(options: Options, texts: Mapping[str, str], program: list[str]) -> int:
    """Run the program in a directory of its own, and report."""
    try:
        directory = RunDirectory.create(name_of(program))
    except OSError as error:
        _say(f"no summary: cannot make a directory: {error}")
        directory = None
    environment = {**inherited(), **variables_of(texts, os.environ)}
    environment[DIRECTORY] = "" if directory is None else directory.path
    if options.port is not None:
        host = f"[{options.host}]" if ":" in options.host else options.host
        login = "" if options.token is None else ", with a link to log in"
        _say(f"page: http://{host}:{options.port}/ (as soon as the program uses storage{login})")
    started, process = time.monotonic(), None
    try:
        process = Process.start(command_of(program), environment, PROCESS)
        status = process.wait()
    except StartError as error:
        hint = f": pass ./{program[0]}" if error.status == 127 and os.path.isfile(program[0]) else ""  # noqa: PLR2004 (not found)
        _say(f"cannot run {program[0]!r}: {error.strerror}{hint}")
        status, options = error.status, Options(summary=False)
    seconds = time.monotonic() - started
    if directory is not None:
        try:
            if options.summary or options.json is not None:
                _report(directory, seconds, options)
        except OSError as error:
            _say(f"no summary: {error}")
        finally:
            directory.remove()
    if process is not None:
        process.end_by_key()
    return status


def _report(directory: RunDirectory, seconds: float, options: Options) -> None:
    """Print the summary and write it as JSON, in a process that imports Encore."""
    if not directory.has_counts() and options.json is None:
        _say("no storage operations: no process used a library that can be observed")
        return
    command = [sys.executable, "-P", "-m", "encore_storage.run", directory.path, "--seconds", f"{seconds:.6f}"]
    if options.json is not None:
        command += ["--json", options.json]
    if not options.summary:
        command.append("--no-text")
    elif os.isatty(2) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        command.append("--color")
    pid = os.posix_spawn(sys.executable, command, of_the_report(), setsigmask=())
    os.waitpid(pid, 0)


def _with_port(options: Options) -> Options:
    """Return the options with a free port instead of 0. Raises OptionError if the port is taken."""
    import socket  # noqa: PLC0415 (only for a page)

    with contextlib.suppress(socket.gaierror):  # the program reports an address that cannot be used
        family, kind, *_, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                reason = f"{options.host}:{options.port} cannot be used: {error.strerror}; pass another one"
                raise OptionError("--port", "ENCORE_PORT", reason) from None
            return options._replace(port=probe.getsockname()[1])
    return options


def _texts(options: Options, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables as the program gets them: with absolute paths and the real port."""
    texts = dict(variables)
    for option in OPTIONS:
        if option.field in ("port", "log_file", "record", "json") and texts[option.variable]:
            texts[option.variable] = str(getattr(options, option.field))
    return texts


def _field_of(variable: str) -> str:
    return next(option.field for option in OPTIONS if option.variable == variable)


def _say(line: str) -> None:
    if sys.stderr is not None:  # it is closed; print would write to stdout
        with contextlib.suppress(OSError):  # nobody reads it, or the disk is full
            print(f"encore run: {line}", file=sys.stderr, flush=True)
