"""The API calls of S3, DynamoDB and other services as operations."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from encore_storage.clients._botocore_errors import error_of
from encore_storage.clients._botocore_streams import observe_body
from encore_storage.clients.client import Options
from encore_storage.events import Action, Direction, TransactionOutcome
from encore_storage.observing import ObservedTransaction

Parameters = Mapping[str, Any]


class Kind(NamedTuple):
    """An API call as an operation.

    Attributes:
        operation: the name of the operation.
        direction: 'read', 'write', or None where no bytes move.
        change: how it changes its key, or None.
        items: returns the number of items from the parameters and the response.
        body: the name of the body in the response, or of the value in the parameters.
    """

    operation: str
    direction: Direction | None = None
    change: Action | None = None
    items: Callable[[Parameters, Mapping[str, Any]], int] | None = None
    body: str | None = None

    @property
    def reads(self) -> bool:
        """True if it reads a value or its metadata, so that a missing key is a miss."""
        return self.operation in {"get", "get_range", "get_metadata"}


_EXECUTE = Kind("execute")


class ApiCall:
    """One API call as an operation, from the construction to `succeed` or `fail`.

    This class serves the services without a table of operations.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {}
    _transaction: ObservedTransaction | None = None

    def __init__(self, service: str, name: str, parameters: Parameters, options: Options) -> None:
        self._service = service
        self._parameters = parameters
        self._options = options
        kind = self._kind = self.kinds.get(name, _EXECUTE)
        self.observer = options.observer(self._store(), service)
        self.key = self._key()
        self._start(name, kind.operation)

    def succeed(self, response: Any) -> None:
        """End the operation with the response, or leave the end to its body."""
        if isinstance(response, Mapping):
            self._take(response)
        else:
            self.operation.finish()

    def fail(self, error: BaseException) -> None:
        """End the operation with an error of the client."""
        self.operation.finish(error_of(error, self._options, reads=self._kind.reads))

    def _start(self, name: str, operation: str) -> None:
        key = self.key
        message = None if operation != "execute" else name if key is None else f"{name} {key}"
        self._started_at = time.monotonic()
        self.operation = self.observer.make_operation(
            operation, key, self._kind.direction, -1, message, None, self._transaction
        )
        self.operation.start()

    def _store(self) -> str:
        return self._service

    def _key(self) -> str | None:
        return None

    def _take(self, response: Mapping[str, Any]) -> None:
        if self._kind.items is not None:
            self.operation.items = self._kind.items(self._parameters, response)
        self.operation.finish()


def _listed(_: Parameters, response: Mapping[str, Any]) -> int:
    names = ("Contents", "CommonPrefixes", "Versions", "DeleteMarkers", "Buckets")
    return sum(len(response.get(name) or ()) for name in names)


def _deleted(parameters: Parameters, response: Mapping[str, Any]) -> list[str]:
    failed = {error.get("Key") for error in response.get("Errors") or ()}
    return [one["Key"] for one in parameters["Delete"]["Objects"] if one["Key"] not in failed]


class S3Call(ApiCall):
    """One call of S3."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "CompleteMultipartUpload": Kind("execute", change="set"),
        "CopyObject": Kind("copy", change="set"),
        "DeleteObject": Kind("delete", change="delete"),
        "DeleteObjects": Kind("delete", items=lambda *of: len(_deleted(*of))),
        "GetObject": Kind("get", "read", body="Body"),
        "GetObjectAttributes": Kind("get_metadata"),
        "GetObjectTorrent": Kind("get", "read", body="Body"),
        "HeadObject": Kind("get_metadata"),
        "ListBuckets": Kind("list", items=_listed),
        "ListObjectVersions": Kind("list", items=_listed),
        "ListObjects": Kind("list", items=_listed),
        "ListObjectsV2": Kind("list", items=_listed),
        "PutObject": Kind("set", "write", change="set", body="Body"),
        "SelectObjectContent": Kind("get", "read", body="Payload"),
        "UploadPart": Kind("set", "write", body="Body"),
        "UploadPartCopy": Kind("copy"),
    }
    _position = 0

    def _start(self, name: str, operation: str) -> None:
        if self._kind.direction == "write":
            self._position = position_of(self._parameters.get("Body"))
        elif operation == "get" and not self._parameters.keys().isdisjoint(("Range", "PartNumber")):
            operation = "get_range"
        super()._start(name, operation)

    def _store(self) -> str:
        bucket = self._parameters.get("Bucket")
        return f"s3:{short_name(bucket)}" if bucket else "s3"

    def _key(self) -> str | None:
        key = self._parameters.get("Key")
        return f"{short_name(self._parameters.get('Bucket'))}/{key}" if key else None

    def _take(self, response: Mapping[str, Any]) -> None:
        kind, operation = self._kind, self.operation
        if kind.direction == "read":
            operation.first_byte = time.monotonic() - self._started_at
            if observe_body(response.get(kind.body or ""), operation, self._options):
                return
        elif kind.direction == "write":
            operation.count_to(size_of(self._parameters, self._position))
        super()._take(response)
        if kind.change is not None and self.key is not None and "VersionId" not in self._parameters:
            self.observer.changed(kind.change, self.key)
        elif kind.items is not None and kind.operation == "delete":
            for key in _deleted(self._parameters, response):
                self.observer.changed("delete", f"{short_name(self._parameters['Bucket'])}/{key}")


def _found(_: Parameters, response: Mapping[str, Any]) -> int:
    if "Responses" not in response:
        return int("Item" in response)
    responses = response["Responses"]
    if isinstance(responses, Mapping):  # of BatchGetItem
        return sum(map(len, responses.values()))
    return sum("Item" in one for one in responses)


def _written(parameters: Parameters, response: Mapping[str, Any]) -> int:
    requested, left = parameters["RequestItems"], response.get("UnprocessedItems") or {}
    return sum(map(len, requested.values())) - sum(map(len, left.values()))


class DynamoDbCall(ApiCall):
    """One call of DynamoDB; TransactWriteItems is a transaction with one operation."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "BatchGetItem": Kind("get", "read", items=_found),
        "BatchWriteItem": Kind("set", "write", items=_written),
        "DeleteItem": Kind("delete"),
        "GetItem": Kind("get", "read", items=_found),
        "PutItem": Kind("set", "write"),
        "Query": Kind("query", items=lambda _, response: response.get("Count", 0)),
        "Scan": Kind("query", items=lambda _, response: response.get("Count", 0)),
        "TransactGetItems": Kind("get", "read", items=_found),
        "TransactWriteItems": Kind("set", "write", items=lambda parameters, _: len(parameters["TransactItems"])),
        "UpdateItem": Kind("set", "write"),
    }

    def fail(self, error: BaseException) -> None:
        """End the operation and its transaction; without an answer, it is unknown if that was committed."""
        super().fail(error)
        if self._transaction is not None:
            outcome: TransactionOutcome = "rolled_back" if hasattr(error, "response") else "commit_failed"
            self._transaction.end(outcome, error_of(error, self._options, reads=False))

    def _start(self, name: str, operation: str) -> None:
        if name == "TransactWriteItems":
            self._transaction = self.observer.transaction()
            self._transaction.start()
        super()._start(name, operation)

    def _store(self) -> str:
        try:
            tables = set(_tables(self._parameters))
        except (AttributeError, TypeError):  # botocore refuses such parameters
            tables = set()
        return f"dynamodb:{short_name(tables.pop())}" if len(tables) == 1 else "dynamodb"

    def _take(self, response: Mapping[str, Any]) -> None:
        is_get = self._kind.operation == "get"
        if is_get and not _found(self._parameters, response) and not response.get("UnprocessedKeys"):
            self.operation.items = 0
            self.operation.end(exit_state="warning")
        else:
            super()._take(response)
        if self._transaction is not None:
            self._transaction.end("committed")


def _tables(parameters: Parameters) -> Iterator[Any]:
    """Yield the tables that a call of DynamoDB names."""
    if "TableName" in parameters:
        yield parameters["TableName"]
    yield from parameters.get("RequestItems", ())
    for item in parameters.get("TransactItems", ()):
        for action in item.values():
            yield action.get("TableName")


def api_call(service: str, name: str, parameters: Parameters, options: Options) -> ApiCall:
    """Return an API call as an operation that has started."""
    return _CLASSES.get(service, ApiCall)(service, name, parameters, options)


_CLASSES: Mapping[str, type[ApiCall]] = {"dynamodb": DynamoDbCall, "s3": S3Call}


def short_name(name: object) -> str:
    """Return the name of a bucket or table; of an ARN, which has the number of an account, the last part.

    >>> short_name("invoices"), short_name("arn:aws:dynamodb:eu-west-1:123456789012:table/orders")
    ('invoices', 'orders')
    """
    return str(name).rpartition(":")[2].rpartition("/")[2]


def position_of(body: Any) -> int:
    """Return the position of a body that is a file; 0 for one that has none."""
    tell = None if isinstance(body, bytes) else getattr(body, "tell", None)
    if tell is None or inspect.iscoroutinefunction(tell):
        return 0
    try:
        position: int = tell()
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
