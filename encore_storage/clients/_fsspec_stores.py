"""The stores that fsspec's file systems are: their names, and the errors of their operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from encore_storage.clients.client import Options
from encore_storage.clients.errors import stand_in
from encore_storage.errors import ErrorType, error_type_of
from encore_storage.observing import StoreObserver
from encore_storage.observing.outcomes import is_cancellation

_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "obs", "oci", "r2", "b2", "swift"})
_HOSTS = frozenset({"ftp", "sftp", "ssh", "smb", "webhdfs", "webHDFS", "hdfs", "arrow_hdfs"})
_URLS = frozenset({"http", "https", "webdav"})

_CONNECTION_ERRORS = frozenset(
    {
        "ClientConnectionError",  # of aiohttp
        "ClientPayloadError",
        "HTTPClientError",  # of botocore
        "ConnectionError",
        "IncompleteReadError",
        "ResponseStreamingError",
    }
)
_STATUSES: Mapping[int, ErrorType] = {
    401: "permission_denied",
    403: "permission_denied",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    410: "not_found",
    412: "conflict",
    504: "timeout",
    507: "quota_exceeded",
}


def state_of(target: object) -> dict[str, Any]:
    """Return the attributes of the object itself, also where its class overrides `__getattribute__`."""
    state: dict[str, Any] = object.__getattribute__(target, "__dict__")
    return state


def layers_of(fs: object) -> Iterator[object]:
    """Yield the file systems that this one is a layer over."""
    state = state_of(fs)
    others = state.get("fss")
    yield from filter(None, (state.get("fs"), state.get("sync_fs")))
    yield from others.values() if isinstance(others, dict) else ()


class Stores:
    """The observers of the file systems of one class, by the names of their stores.

    Attributes:
        fixed: the only observer; None if there are several.
    """

    def __init__(self, cls: Any, options: Options) -> None:
        self._options = options
        self._protocol = _first(getattr(cls, "protocol", None))
        is_fixed = isinstance(self._protocol, str) and self._protocol not in _BUCKETS | _HOSTS | _URLS
        self.fixed = options.observer(self._protocol, self._protocol) if is_fixed else None

    def observer(self, fs: object, path: object = None) -> StoreObserver:
        """Return the observer of the store with the path, or of the file system as a whole."""
        return self.fixed or self._find(fs, path)

    def _find(self, fs: object, path: Any) -> StoreObserver:
        state = state_of(fs)
        backend = str(_first(state.get("protocol")) or self._protocol or "abstract")
        while isinstance(path, list | tuple | dict | set):
            path = next(iter(path), None)
        path, place = str(path or ""), ""
        if backend in _URLS:
            url = urlsplit(path)
            backend, place = url.scheme or backend, url.hostname or ""
        elif backend in _BUCKETS:
            place = path.partition("://")[2] if "://" in path else path
            place = place.lstrip("/").partition("/")[0]
        elif backend in _HOSTS:
            place = str(state.get("storage_options", {}).get("host", ""))
        return self._options.observer(f"{backend}:{place}" if place else backend, backend)


def stand_in_of(error: BaseException, options: Options) -> BaseException:
    """Return the stand-in for an error of a file system, or a cancellation as it is."""
    if is_cancellation(error):
        return error
    code, error_type = _code_of(error), error_type_of(error)
    status = getattr(error, "status", None)
    if error_type == "other":
        names = {cls.__name__ for cls in type(error).__mro__}
        is_connection = bool(names & _CONNECTION_ERRORS)
        error_type = _STATUSES.get(status, "connection" if is_connection else "other")  # type: ignore[arg-type]
    return stand_in(
        error, error_type, code=code, is_miss=isinstance(error, FileNotFoundError), with_text=options.error_text
    )


def _code_of(error: BaseException) -> str | None:
    """Return the HTTP status, or S3's code, which s3fs keeps in the cause of its error."""
    for each in (error, error.__cause__):
        response, status = getattr(each, "response", None), getattr(each, "status", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code"))
        if isinstance(status, int):
            return str(status)
    return None


def _first(protocol: Any) -> Any:
    return protocol[0] if isinstance(protocol, tuple | list) and protocol else protocol
