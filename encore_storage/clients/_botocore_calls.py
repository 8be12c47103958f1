"""The API calls of S3, DynamoDB and other services as operations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from encore_events.loggers import get_logger
from encore_storage.clients._botocore_errors import error_of, retries_of
from encore_storage.clients._botocore_streams import observe_body
from encore_storage.clients.client import Options
from encore_storage.clients.nesting import add_retries, operation_above
from encore_storage.events import Action, Direction
from encore_storage.observing import ObservedTransaction, Operation, StoreObserver

logger = get_logger("encore_storage")

Parameters = Mapping[str, Any]


class Kind(NamedTuple):
    """An API call as an operation.

    Attributes:
        operation: the name of the operation.
        direction: 'read', 'write', or None where no bytes move.
        has_body: whether the response or, in the direction 'write', the request has a body.
        change: how it changes its key, or None.
        items: returns the number of items from the parameters and the response.
    """

    operation: str
    direction: Direction | None = None
    has_body: bool = False
    change: Action | None = None
    items: Callable[[Parameters, Mapping[str, Any]], int] | None = None


def _listed(_: Parameters, response: Mapping[str, Any]) -> int:
    names = ("Contents", "CommonPrefixes", "Versions", "DeleteMarkers", "Buckets")
    return sum(len(response.get(name) or ()) for name in names)


def _deleted(parameters: Parameters, response: Mapping[str, Any]) -> list[str]:
    failed = {error.get("Key") for error in response.get("Errors") or ()}
    return [one["Key"] for one in parameters["Delete"]["Objects"] if one["Key"] not in failed]


def _found(_: Parameters, response: Mapping[str, Any]) -> int:
    responses = response.get("Responses")
    if responses is None:
        return int("Item" in response)
    if isinstance(responses, Mapping):  # of BatchGetItem: lists by table
        return sum(map(len, responses.values()))
    return sum("Item" in one for one in responses)


def _written(parameters: Parameters, response: Mapping[str, Any]) -> int:
    requested, left = parameters["RequestItems"], response.get("UnprocessedItems") or {}
    return sum(map(len, requested.values())) - sum(map(len, left.values()))


def _counted(_: Parameters, response: Mapping[str, Any]) -> int:
    count: int = response.get("Count", 0)
    return count


_EXECUTE = Kind("execute")
_DELETE_OBJECTS = Kind("delete", items=lambda *both: len(_deleted(*both)))
_GET_OBJECT = Kind("get", "read", has_body=True)
_GET_RANGE = Kind("get_range", "read", has_body=True)
_TRANSACT = Kind("set", "write", items=lambda parameters, _: len(parameters["TransactItems"]))

_S3: Mapping[str, Kind] = {
    "CompleteMultipartUpload": Kind("execute", change="set"),
    "CopyObject": Kind("copy", change="set"),
    "DeleteObject": Kind("delete", change="delete"),
    "DeleteObjects": _DELETE_OBJECTS,
    "GetObject": _GET_OBJECT,
    "GetObjectAttributes": Kind("get_metadata"),
    "GetObjectTorrent": Kind("get", "read", has_body=True),
    "HeadObject": Kind("get_metadata"),
    "ListBuckets": Kind("list", items=_listed),
    "ListObjectVersions": Kind("list", items=_listed),
    "ListObjects": Kind("list", items=_listed),
    "ListObjectsV2": Kind("list", items=_listed),
    "PutObject": Kind("set", "write", has_body=True, change="set"),
    "SelectObjectContent": Kind("get", "read", has_body=True),
    "UploadPart": Kind("set", "write", has_body=True),
    "UploadPartCopy": Kind("copy"),
}

_DYNAMODB: Mapping[str, Kind] = {
    "BatchGetItem": Kind("get", "read", items=_found),
    "BatchWriteItem": Kind("set", "write", items=_written),
    "DeleteItem": Kind("delete"),
    "GetItem": Kind("get", "read", items=_found),
    "PutItem": Kind("set", "write"),
    "Query": Kind("query", items=_counted),
    "Scan": Kind("query", items=_counted),
    "TransactGetItems": Kind("get", "read", items=_found),
    "TransactWriteItems": _TRANSACT,
    "UpdateItem": Kind("set", "write"),
}

_KINDS: Mapping[str, Mapping[str, Kind]] = {"dynamodb": _DYNAMODB, "s3": _S3}

_NONE: Parameters = {}


class Calls:
    """The calls of one client."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._service = ""
        self._kinds: Mapping[str, Kind] = {}
        self._stores: dict[str, tuple[StoreObserver, str]] = {}

    def begin(self, client: Any, name: str, parameters: Parameters) -> ApiCall | PartOfCall:
        """Return a call that begins now.

        A call that another one makes, to get credentials or to find the region of a bucket, is part of it, and a call
        for an operation of another client is part of that.
        """
        running = _running.get()
        above = operation_above() if running is None or running.operation is None else running.operation
        if above is not None:
            return PartOfCall(above)
        try:
            if not self._service:
                self._service = client.meta.service_model.service_name
                self._kinds = _KINDS.get(self._service, {})
            kind = self._kinds.get(name, _EXECUTE)
            if kind is _GET_OBJECT and ("Range" in parameters or "PartNumber" in parameters):
                kind = _GET_RANGE
            return ApiCall(self, name, kind, parameters, running)
        except Exception:
            logger.exception("could not observe a call of %s", name)
            return PartOfCall(None)

    def store_of(self, parameters: Parameters) -> tuple[StoreObserver, str | None]:
        """Return the observer of the store, and the key."""
        service, key = self._service, None
        container: object = None
        if service == "s3":
            container, key = parameters.get("Bucket"), parameters.get("Key")
        elif service == "dynamodb":
            container = _table_of(parameters)
        if not isinstance(container, str):  # botocore refuses it
            container = ""
        known = self._stores.get(container)
        if known is None:
            name = short_name(container)
            observer = self.options.observer(f"{service}:{name}" if name else service, service)
            known = self._stores[container] = (observer, name)
        return known[0], None if key is None else f"{known[1]}/{key}"


class ApiCall:
    """One API call as an operation, from the construction to `succeed` or `fail`.

    Attributes:
        operation: the operation while the call is running, then None: a task of the HTTP client may have copied the
            context, which refers to the call.
    """

    __slots__ = (
        "_before",
        "_key",
        "_kind",
        "_observer",
        "_options",
        "_parameters",
        "_position",
        "_transaction",
        "operation",
    )

    def __init__(self, calls: Calls, name: str, kind: Kind, parameters: Parameters, before: ApiCall | None) -> None:
        self._options = calls.options
        self._kind = kind
        self._parameters = parameters
        self._before = before
        self._transaction: ObservedTransaction | None = None
        observer, key = self._observer, self._key = calls.store_of(parameters)
        message = None
        if kind.operation == "execute":
            message = name if key is None else f"{name} {key}"
        elif kind is _TRANSACT:
            self._transaction = observer.transaction()
            self._transaction.start()
        elif kind.has_body and kind.direction == "write":
            self._position = position_of(parameters.get("Body"))
        operation = observer.make_operation(kind.operation, key, kind.direction, -1, message, None, self._transaction)
        operation.start()
        self.operation: Operation | None = operation
        _running.set(self)

    def succeed(self, response: Any) -> None:
        """End the operation with the response, or leave the end to its body."""
        operation = self._leave()
        kind, parameters = self._kind, self._parameters
        self._parameters = _NONE
        try:
            if not isinstance(response, dict):  # of a test of the program
                response = _NONE
            if retries := retries_of(response):
                operation.attempts += retries
            if kind.has_body and self._moves_body(operation, parameters, response):
                return
            if kind.items is not None:
                operation.items = kind.items(parameters, response)
            if kind.items is _found and not (operation.items or response.get("UnprocessedKeys")):
                operation.end(exit_state="warning")
            else:
                operation.finish()
            if self._transaction is not None:
                self._transaction.end("committed")
            for key in self._changed(parameters, response):
                self._observer.changed(kind.change or "delete", key)
        except Exception:
            logger.exception("could not observe the response of %r", operation)

    def fail(self, error: BaseException) -> None:
        """End the operation with an error of the client."""
        operation = self._leave()
        self._parameters = _NONE
        kind = self._kind
        try:
            operation.attempts += retries_of(error)
            reads = kind.direction == "read" or kind.operation == "get_metadata"
            carried = error_of(error, self._options, reads=reads)
            operation.finish(carried)
            if self._transaction is not None:  # without an answer, it is unknown whether it was committed
                self._transaction.end("rolled_back" if hasattr(error, "response") else "commit_failed", carried)
        except Exception:
            logger.exception("could not observe the error of %r", operation)

    def _moves_body(self, operation: Operation, parameters: Parameters, response: Mapping[str, Any]) -> bool:
        """Count the body of the request, or return True to have the operation end with that of the response."""
        if self._kind.direction == "write":
            operation.count_to(size_of(parameters, self._position))
            return False
        operation.measure_first_byte()
        body = response["Body"] if "Body" in response else response.get("Payload")
        return observe_body(body, operation, self._options)

    def _leave(self) -> Any:
        operation, self.operation = self.operation, None
        _running.set(self._before)
        self._before = None
        return operation

    def _changed(self, parameters: Parameters, response: Mapping[str, Any]) -> Iterator[str]:
        """Yield the keys that the call has changed."""
        if self._kind is _DELETE_OBJECTS:
            bucket = short_name(parameters["Bucket"])
            yield from (f"{bucket}/{key}" for key in _deleted(parameters, response))
        elif self._kind.change is not None and self._key is not None and "VersionId" not in parameters:
            yield self._key


class PartOfCall:
    """A call that is part of an operation above it, or of none if it could not be observed."""

    def __init__(self, operation: Operation | None) -> None:
        self._operation = operation

    def succeed(self, response: Any) -> None:
        """Count the retries of a response or error."""
        if self._operation is not None:
            add_retries(self._operation, retries_of(response))

    fail = succeed


_running: ContextVar[ApiCall | None] = ContextVar("encore_storage_running_call", default=None)


def add_retries_above(retries: int) -> None:
    """Add retries of a request to the operation that the caller is inside."""
    running = _running.get()
    above = operation_above() if running is None or running.operation is None else running.operation
    if retries and above is not None:
        add_retries(above, retries)


def _table_of(parameters: Parameters) -> str:
    """Return the table that a call of DynamoDB names, or "" for none or several."""
    try:
        names = {parameters["TableName"]} if "TableName" in parameters else set(parameters.get("RequestItems", ()))
        for item in parameters.get("TransactItems", ()):
            names |= {action.get("TableName") for action in item.values()}
    except (AttributeError, TypeError):  # botocore refuses such parameters
        return ""
    return str(names.pop()) if len(names) == 1 else ""


def short_name(name: object) -> str:
    """Return the name of a bucket or table; of an ARN, which has the number of an account, the last part.

    >>> short_name("invoices"), short_name("arn:aws:dynamodb:eu-west-1:123456789012:table/orders")
    ('invoices', 'orders')
    """
    return str(name).rpartition(":")[2].rpartition("/")[2]


def position_of(body: Any) -> int:
    """Return the position of a body that is a file; 0 for one that has none."""
    position_now = None if isinstance(body, bytes) else getattr(body, "tell", None)
    if position_now is None or inspect.iscoroutinefunction(position_now):
        return 0
    try:
        position: int = position_now()
    except (OSError, ValueError):  # it cannot seek, or is closed
        return 0
    return position


def size_of(parameters: Parameters, position: int = 0) -> int:
    """Return the number of bytes of the body that was sent, a file from `position`; 0 if that is unknown."""
    body = parameters.get("Body", b"")
    if isinstance(body, str):
        return len(body.encode())
    try:
        return memoryview(body).nbytes
    except TypeError:
        length: int | None = parameters.get("ContentLength")
        return max(position_of(body) - position, 0) if length is None else length
