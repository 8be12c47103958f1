"""The options of `encore run`: each has an environment variable, by which it reaches the program."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from encore_run.libraries import LIBRARIES

ENTRY_POINTS = "encore_storage.clients"
"""The group of the entry points by which other packages add libraries."""

MIN_TOKEN_LENGTH = 16


class OptionError(ValueError):
    """An option that cannot be used.

    Attributes:
        option: the option, or None if only its variable exists.
        variable: its environment variable.
        reason: the rest of the message.
    """

    def __init__(self, option: str | None, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.option = option
        self.variable = variable
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.option, self.variable, self.reason), self.__dict__


class Option(NamedTuple):
    """An option.

    Attributes:
        field: the attribute of `Options`.
        variable: its environment variable.
        parse: returns the value of a text; raises ValueError.
        flag: as on the command line, or None.
        metavar: the name of its value in the help; None if it has none.
        help: its description.
    """

    field: str
    variable: str
    parse: Callable[[str], Any]
    flag: str | None = None
    metavar: str | None = None
    help: str = ""


class Options(NamedTuple):
    """The settings of a run.

    Attributes:
        port: the port of the page and the metrics, or None for no page.
        host: the address to serve on.
        token: what clients of the page must send, or None.
        allowed_hosts: further host names by which clients may reach the page.
        observe: the libraries to observe; by default, all.
        log_file: the file to append a line to for each operation.
        log_slow: the seconds below which a successful operation is not logged.
        record: the file to record all events to.
        json: the file for the summary in JSON.
        summary: whether a summary is made and printed.
    """

    port: int | None = None
    host: str = "127.0.0.1"
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    observe: tuple[str, ...] | None = None
    log_file: str | None = None
    log_slow: float | None = None
    record: str | None = None
    json: str | None = None
    summary: bool = True

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """Return the options in environment variables. An empty variable is none. Raises OptionError."""
        values = {}
        for option in OPTIONS:
            text = variables.get(option.variable, "")
            if not text:
                continue
            try:
                values[option.field] = option.parse(text)
            except ValueError as error:
                raise OptionError(option.flag, option.variable, str(error)) from None
        options = cls(**values)
        if not _is_loopback(options.host) and options.token is None:
            reason = f"other machines can reach {options.host!r}: set ENCORE_TOKEN to a secret (openssl rand -hex 32)"
            raise OptionError("--host", "ENCORE_HOST", reason)
        return options


def _port(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > 65535:  # noqa: PLR2004 (the last port)
        raise ValueError(f"{text!r} is no port: pass a number from 0 to 65535; 0 takes a free one")
    return int(text)


def _token(text: str) -> str:
    if len(text) < MIN_TOKEN_LENGTH or not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"a token has at least {MIN_TOKEN_LENGTH} printable ASCII characters, without spaces around it"
        )
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is no number of seconds: pass one such as 0.5")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _libraries(text: str) -> tuple[str, ...]:
    names = _names(text)
    unknown = [name for name in names if name not in LIBRARIES]
    if unknown:
        from importlib.metadata import entry_points  # noqa: PLC0415 (it takes long, and is rarely needed)

        known = sorted({*LIBRARIES, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{unknown[0]!r} cannot be observed: pass some of {', '.join(known)}")
    return names


def _path(text: str) -> str:
    path = os.path.abspath(text)
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise ValueError(f"{text!r} is a directory: pass a file")
    if not os.path.isdir(folder):
        raise ValueError(f"there is no directory {folder!r}: make it, or pass another file")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise ValueError(f"{text!r} may not be written by this user: pass another file")
    return path


def _is_loopback(host: str) -> bool:
    if host == Options().host:
        return True
    import ipaddress  # noqa: PLC0415 (it is rarely needed)

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_off(text: str) -> bool:
    return text == "0"


OPTIONS = (
    Option("port", "ENCORE_PORT", _port, "--port", "N", "serve a live page and metrics of all processes; 0: any port"),
    Option("host", "ENCORE_HOST", str, "--host", "ADDRESS", "serve on this address instead of 127.0.0.1"),
    Option("token", "ENCORE_TOKEN", _token, help="what clients of the page must send"),
    Option(
        "allowed_hosts",
        "ENCORE_ALLOWED_HOSTS",
        _names,
        help="further host names of the page, with commas between; * allows all",
    ),
    Option("log_file", "ENCORE_LOG_FILE", _path, "--log-file", "PATH", "append a line of JSON for each operation"),
    Option(
        "log_slow",
        "ENCORE_LOG_SLOW",
        _seconds,
        "--log-slow",
        "SECONDS",
        "log only failures and what takes this long; without --log-file, to standard error",
    ),
    Option("record", "ENCORE_RECORD", _path, "--record", "PATH", "record all events, for encore replay"),
    Option(
        "observe",
        "ENCORE_OBSERVE",
        _libraries,
        "--observe",
        "NAMES",
        f"observe only these libraries, with commas between: {', '.join(LIBRARIES)}",
    ),
    Option("json", "ENCORE_JSON", _path, "--json", "PATH", "write the summary as JSON"),
    Option("summary", "ENCORE_NO_SUMMARY", _is_off, "--no-summary", None, "print no summary"),
)
