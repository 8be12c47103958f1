"""Managed transfers of boto3: each is one operation, whatever requests it makes in its threads."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from encore_events.loggers import get_logger
from encore_storage.clients._botocore_calls import position_of, short_name, size_of
from encore_storage.clients._botocore_errors import error_of, retries_in, retries_of
from encore_storage.clients.client import Options
from encore_storage.clients.swapping import plain_class
from encore_storage.events import Direction

logger = get_logger("encore_storage")

METHODS: Mapping[str, tuple[str, Direction | None]] = {
    "copy": ("copy", None),
    "download_file": ("get", "read"),
    "download_fileobj": ("get", "read"),
    "upload_file": ("set", "write"),
    "upload_fileobj": ("set", "write"),
}
"""The operation and the direction of each method of an S3 client that is a managed transfer."""

_TRANSFER = "_encore_transfer"


def _logged(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method whose errors, such as those of a strict event manager, are logged."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception:
            logger.exception("could not observe %r", self)

    return call


class _Transfer:
    """One managed transfer; its requests are made by several threads."""

    def __init__(self, method: str, arguments: Mapping[str, Any], options: Options) -> None:
        bucket = short_name(arguments.get("Bucket"))
        operation, self._direction = METHODS[method]
        self.reads = self._direction == "read"
        self._observer = options.observer(f"s3:{bucket}", "s3")
        self._key = f"{bucket}/{arguments.get('Key')}"
        self._options = options
        self._lock = threading.Lock()
        self._total = self._counted = 0
        self._ranges = set[object]()
        self._operation = self._observer.make_operation(
            operation,
            self._key,
            self._direction,
            _size_of_file(arguments) if self._direction == "write" else -1,
            None,
            None,
            None,
        )

    @_logged
    def start(self) -> None:
        """Start the operation."""
        self._operation.start()

    @_logged
    def count(self, more: int) -> None:
        """Count bytes; fewer than 0 if a part must be received again."""
        with self._lock:
            self._total += more
            more = self._total - self._counted
            if more <= 0:
                return
            self._counted += more
        if self.reads and self._operation.first_byte is None:
            self._operation.measure_first_byte()
        if not self._operation.is_over:
            self._operation.count(more)

    def callback(self, given: Callable[[int], object] | None) -> Callable[[int], None]:
        """Return a progress callback that counts bytes, and calls the one that the program gave."""

        def progress(more: int) -> None:
            self.count(more)
            if given is not None:
                given(more)

        return progress

    def add_retries(self, retries: int) -> None:
        """Count retries of a request."""
        with self._lock:
            self._operation.attempts += retries

    def request(self, name: str, parameters: Mapping[str, Any]) -> Callable[[Any], None]:
        """Return a function that takes the response or the error of a request."""
        position = position_of(parameters.get("Body"))
        is_again = name == "GetObject" and self._is_known(parameters.get("Range"))

        def take(response: Any) -> None:
            self.add_retries(retries_of(response) + is_again)
            if isinstance(response, BaseException):
                return
            if self._direction == "write" and name in {"PutObject", "UploadPart"}:
                self.count(size_of(parameters, position))
            elif self.reads and name == "HeadObject":
                self._operation.steps = response.get("ContentLength", -1)

        return take

    @_logged
    def finish(self, error: BaseException | None = None) -> None:
        """End the operation."""
        if error is not None:
            error = error_of(error, self._options, reads=self.reads)
        self._operation.finish(error)
        if error is None and not self.reads:
            self._observer.changed("set", self._key)

    def _is_known(self, part: object) -> bool:
        """Return True if the part was requested before: s3transfer requests it again if its body breaks off."""
        with self._lock:
            is_known = part in self._ranges
            self._ranges.add(part)
        return is_known


def transfers(cls: Any, options: Options) -> dict[str, Callable[..., Any]]:
    """Return the observed variants of the managed transfers that a class of clients has."""
    names = [name for name in METHODS if hasattr(cls, name)]
    quiet_class = _quiet_class(cls) if names else cls
    return {name: _observed(cls, name, quiet_class, options) for name in names}


def _observed(cls: Any, method: str, quiet_class: type, options: Options) -> Callable[..., Any]:
    plain = getattr(cls, method)
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return plain(self, *args, **kwargs)  # raises its own error
        arguments = bound.arguments
        transfer = _Transfer(method, arguments, options)
        transfer.start()
        arguments["self"] = _quiet(self, quiet_class, transfer)
        if method == "copy":
            source = arguments.get("SourceClient")
            arguments["SourceClient"] = (
                None if source is None else _quiet(source, _quiet_class(plain_class(source)), transfer)
            )
        if transfer.reads:
            arguments["Callback"] = transfer.callback(arguments.get("Callback"))
        try:
            result = plain(*bound.args, **bound.kwargs)
        except BaseException as error:
            transfer.finish(error)
            raise
        transfer.finish()
        return result

    return call


def _quiet(client: Any, quiet_class: type, transfer: _Transfer) -> Any:
    """Return a copy of a client for the threads of a transfer, which have no context of the caller."""
    quiet: Any = object.__new__(quiet_class)
    vars(quiet).update(vars(client), **{_TRANSFER: transfer})
    return quiet


def _quiet_class(cls: Any) -> type:
    """Return a class of clients whose requests are counted for a transfer instead of being observed."""

    def make_api_call(self: Any, name: str, parameters: Mapping[str, Any]) -> Any:
        take = vars(self)[_TRANSFER].request(name, parameters)
        try:
            response = cls._make_api_call(self, name, parameters)
        except Exception as error:
            take(error)
            raise
        take(response)
        return response

    def make_request(self: Any, model: Any, request: Any, context: Mapping[str, Any]) -> Any:
        try:
            return cls._make_request(self, model, request, context)
        except Exception:
            vars(self)[_TRANSFER].add_retries(retries_in(context))
            raise

    return type(cls.__name__, (cls,), {"_make_api_call": make_api_call, "_make_request": make_request})


def _size_of_file(arguments: Mapping[str, Any]) -> int:
    """Return the size of the file to upload; -1 if it is unknown."""
    try:
        return Path(arguments["Filename"]).stat().st_size if "Filename" in arguments else -1
    except (OSError, TypeError, ValueError):
        return -1
