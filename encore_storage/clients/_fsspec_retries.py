"""The retries of s3fs, which repeats calls of botocore and reads of bodies on its own."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from encore_events.loggers import get_logger
from encore_storage.clients.nesting import add_retries, operation_above
from encore_storage.clients.swapping import options_of

logger = get_logger("encore_storage")

_HOOK = "_error_wrapper"
"""The function of `s3fs.core` that repeats calls."""


class Retries:
    """Counts the repeated calls of s3fs as attempts of operations, while a file system of it is observed."""

    def __init__(self) -> None:
        self._observed: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._plain: Callable[..., Any] | None = None

    def add(self, fs: Any) -> None:
        """Count the retries of a file system, if it is one of s3fs."""
        core = sys.modules.get("s3fs.core")
        if core is None or not isinstance(fs, core.S3FileSystem):
            return
        self._observed[id(fs)] = fs
        if self._plain is not None:
            return
        self._plain = getattr(core, _HOOK, None)
        if self._plain is None:
            logger.warning("cannot count the retries of s3fs: s3fs.core.%s is missing", _HOOK)
        else:
            setattr(core, _HOOK, _counting(self._plain))

    def discard(self, fs: Any) -> None:
        """Undo `add`."""
        self._observed.pop(id(fs), None)
        core = sys.modules.get("s3fs.core")
        if self._plain is None or len(self._observed) or core is None:
            return
        if getattr(getattr(core, _HOOK, None), "__wrapped__", None) is self._plain:  # nobody has replaced it since
            setattr(core, _HOOK, self._plain)
            self._plain = None


def _counting(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    async def repeat(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        operation = operation_above()
        if operation is None:
            return await plain(call, *args, **kwargs)
        calls = 0

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            add_retries(operation, bool(calls))
            calls += 1
            try:
                result = await call(*args, **kwargs)
            except Exception as error:
                add_retries(operation, _retries_of(call, getattr(error, "response", None)))
                raise
            add_retries(operation, _retries_of(call, result))
            return result

        return await plain(counted, *args, **kwargs)

    return repeat


def _retries_of(call: Callable[..., Any], response: Any) -> int:
    """Return the retries of botocore for a response; 0 if the client is observed, and counts them itself."""
    if not isinstance(response, Mapping) or options_of(getattr(call, "__self__", None)) is not None:
        return 0
    retries: int = response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
    return retries
