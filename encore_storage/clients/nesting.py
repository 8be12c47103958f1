"""Nesting: the operation of a client that the caller is inside.

A method of an observed object that calls another of the same object is one operation. The requests that an HTTP client
sends for an observed file system belong to the operation of the file system.

The context of the caller carries the operations, so that tasks, and threads that copy the context, are inside as well.
"""

from __future__ import annotations

import weakref
from contextvars import Token
from types import TracebackType

from encore_storage.observing.operation import Enclosing, Operation, enclosing_operations


def operation_on(target: object) -> Operation | None:
    """Return the operation of the target that the caller is inside, or None."""
    for reference in enclosing_operations.get():
        operation = reference()
        if operation is not None and operation.target is target:
            return operation
    return None


def operation_above() -> Operation | None:
    """Return the innermost operation of any client that the caller is inside, or None.

    A client that sends requests for other clients emits nothing for them if there is one. It calls `add_retries`.
    """
    for reference in enclosing_operations.get():
        operation = reference()
        if operation is not None and operation.target is not None:
            return operation
    return None


def add_retries(operation: Operation, retries: int) -> None:
    """Add the retries of a request to the attempts of the operation that it was sent for."""
    operation.attempts += retries


class inside:  # noqa: N801 (used like a function; a generator would cost three times as much)
    """A block in which calls of the target are part of the operation, and operations of others have it as parent."""

    __slots__ = ("_operation", "_token")

    def __init__(self, operation: Operation, target: object) -> None:
        operation.target = target
        self._operation = operation

    def __enter__(self) -> Operation:
        self._token: Token[Enclosing]
        self._token = enclosing_operations.set((weakref.ref(self._operation), *enclosing_operations.get()))
        return self._operation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._operation.target = None  # a task that outlives the block keeps its context, but is not inside any more
        enclosing_operations.reset(self._token)
