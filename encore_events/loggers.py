"""Loggers that never raise what the program's filters and handlers raise, and the last place to show an exception."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

__all__ = ["IsolatedLogger", "get_logger", "show_uncaught"]


class _Logging(threading.local):
    """A flag of the calling thread, on while it logs a line."""

    is_on = False


_logging = _Logging()


class IsolatedLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose filters and handlers are isolated, as listeners are.

    What they raise would end a thread of ours, or reach a store call. `threading.excepthook` shows it instead.
    """

    def __repr__(self) -> str:
        return f"<IsolatedLogger {self.logger.name!r}>"

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line. All methods that log call this one."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # this frame is not the caller
        is_nested = _logging.is_on
        try:
            _logging.is_on = True  # within the `try`: an interrupt must not leave it on
            super().log(level, msg, *args, **kwargs)
        except Exception as error:
            if is_nested and isinstance(error, RecursionError):
                raise  # each handler further up the stack would go on, and recurse again
            show_uncaught(error)
        finally:
            _logging.is_on = is_nested

    @staticmethod
    def is_logging() -> bool:
        """Return whether the calling thread is logging a line with an isolated logger."""
        return _logging.is_on


def get_logger(name: str) -> IsolatedLogger:
    """Return the logger with that name, isolated."""
    return IsolatedLogger(logging.getLogger(name))


def show_uncaught(error: BaseException) -> None:
    """Pass an exception to `threading.excepthook`, as threads do at their end. Never raises an Exception."""
    with contextlib.suppress(Exception):  # the hook is the program's, too
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
        )
