"""A structlog logger that sends its lines to a logger of the standard library."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

NAME = "encore_storage"
_to_text = structlog.processors.LogfmtRenderer(bool_as_flag=False)


def standard_logger() -> Any:
    """Return a structlog logger that sends its lines to the logger `encore_storage` of the standard library.

    A message is the name of the event and its fields, as in `store.operation.ended store=archive operation=get`. A
    traceback follows on lines of its own. The record also has each field as an attribute, for formatters of JSON.
    """
    return structlog.wrap_logger(
        logging.getLogger(NAME), processors=[_as_message], wrapper_class=structlog.stdlib.BoundLogger
    )


def _as_message(
    logger: object, method: str, line: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, dict[str, Any]]]:
    """Return the arguments for a method of a logger of the standard library."""
    fields = {name: value for name, value in line.items() if name != "event" and value is not None}
    shown = {name: value for name, value in fields.items() if name != "exception"}
    message = f"{line['event']} {_to_text(logger, method, shown)}".rstrip()
    if "exception" in fields:
        message = f"{message}\n{fields['exception']}"
    return (message,), {"extra": fields}
