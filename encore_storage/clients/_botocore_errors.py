"""The errors of boto3, botocore and aiobotocore as events carry them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_storage.clients.client import Options
from encore_storage.clients.errors import stand_in
from encore_storage.errors import ErrorType, error_type_of
from encore_storage.observing.outcomes import is_cancellation

_MISSES = frozenset({"404", "NoSuchKey", "NoSuchVersion"})
"""The codes that mean that a key is missing; a HEAD request has no body, so S3 sends it only the status."""

_BY_CODE: Mapping[str, ErrorType] = {
    "BadDigest": "integrity",
    "ConditionalCheckFailedException": "conflict",
    "EntityTooLarge": "invalid",
    "ExpiredToken": "permission_denied",
    "ExpiredTokenException": "permission_denied",
    "InvalidDigest": "integrity",
    "ItemCollectionSizeLimitExceededException": "quota_exceeded",
    "LimitExceededException": "quota_exceeded",
    "ProvisionedThroughputExceededException": "quota_exceeded",
    "RequestLimitExceeded": "quota_exceeded",
    "RequestTimeout": "timeout",
    "RequestTimeoutException": "timeout",
    "ResourceInUseException": "conflict",
    "ResourceNotFoundException": "not_found",
    "SlowDown": "quota_exceeded",
    "ThrottledException": "quota_exceeded",
    "Throttling": "quota_exceeded",
    "ThrottlingException": "quota_exceeded",
    "TooManyBuckets": "quota_exceeded",
    "TransactionCanceledException": "conflict",
    "TransactionConflictException": "conflict",
    "TransactionInProgressException": "conflict",
    "UnrecognizedClientException": "permission_denied",
    "XAmzContentChecksumMismatch": "integrity",
    "XAmzContentSHA256Mismatch": "integrity",
}

_BY_STATUS: Mapping[int, ErrorType] = {
    304: "conflict",
    400: "invalid",
    401: "permission_denied",
    403: "permission_denied",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    411: "invalid",
    412: "conflict",
    413: "invalid",
    416: "invalid",
    429: "quota_exceeded",
    501: "unsupported",
    503: "quota_exceeded",
    504: "timeout",
}

_BY_CLASS: Mapping[str, ErrorType] = {
    "ClientConnectionError": "connection",  # of aiohttp, as the next one
    "ClientPayloadError": "connection",
    "ConnectTimeoutError": "timeout",
    "ConnectionError": "connection",
    "CredentialRetrievalError": "permission_denied",
    "FlexibleChecksumError": "integrity",
    "HTTPClientError": "connection",
    "IncompleteReadError": "connection",
    "NoCredentialsError": "permission_denied",
    "ParamValidationError": "invalid",
    "PartialCredentialsError": "permission_denied",
    "ProtocolError": "connection",
    "ReadTimeoutError": "timeout",
    "ResponseStreamingError": "connection",
    "TimeoutException": "timeout",  # of httpx, as the next but one
    "TokenRetrievalError": "permission_denied",
    "TransportError": "connection",
    "UnauthorizedSSOTokenError": "permission_denied",
}
"""The types of errors without a response, by the names of their classes and base classes."""

_TRANSFER_ERRORS = frozenset({"S3TransferFailedError", "S3UploadFailedError"})
"""The errors that boto3 raises for the `__context__`; any other error may have one of the program's."""


def error_of(error: BaseException, options: Options, *, reads: bool) -> BaseException:
    """Return what an event carries of an error; a missing key is a miss only where the operation `reads`."""
    if is_cancellation(error):
        return error
    response = _response_of(error)
    code = response.get("Error", {}).get("Code")
    return stand_in(
        error,
        _error_type_of(error, code, _metadata_of(response).get("HTTPStatusCode")),
        code=code,
        is_miss=reads and code in _MISSES,
        with_text=options.error_text,
    )


def retries_of(response: object) -> int:
    """Return how often the request was retried that has this response, or raised this error."""
    if isinstance(response, BaseException):
        response = _response_of(response)
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    retries: int = metadata.get("RetryAttempts", 0) if metadata else 0
    return retries


def retries_in(context: Mapping[str, Any]) -> int:
    """Return how often a request was retried that has got no response, from its context."""
    attempt: int = context.get("retries", {}).get("attempt", 1)
    return attempt - 1


def _error_type_of(error: BaseException, code: str | None, status: int | None) -> ErrorType:
    if code is not None or status is not None:
        return _BY_CODE.get(code or "") or _BY_STATUS.get(status or 0, "other")
    cause = _cause_of(error)
    names = (cls.__name__ for cls in type(cause).__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), error_type_of(cause))


def _cause_of(error: BaseException) -> BaseException:
    """Return the error for which a managed transfer raised this one, or the error itself."""
    cause = getattr(error, "last_exception", None)
    if cause is None and type(error).__name__ in _TRANSFER_ERRORS:
        cause = error.__context__
    return cause if isinstance(cause, BaseException) else error


def _response_of(error: BaseException) -> dict[str, Any]:
    response = getattr(_cause_of(error), "response", None)
    return response if isinstance(response, dict) else {}


def _metadata_of(response: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = response.get("ResponseMetadata") or {}
    return metadata
