"""Measures of an operation that few operations have: an operation without them pays one test at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from encore_storage.observing.progress import StoreProgressManager

T = TypeVar("T")


class Measure(Generic[T]):
    """An attribute of an operation that its end event has, too, once it was set.

    Args:
        default: the value of an operation that has not set it.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, operation: None, owner: type) -> Self: ...
    @overload
    def __get__(self, operation: StoreProgressManager, owner: type) -> T: ...
    def __get__(self, operation: StoreProgressManager | None, owner: type) -> Self | T:
        if operation is None:
            return self
        value: T = operation.measures.get(self._name, self._default) if operation.measures else self._default
        return value

    def __set__(self, operation: StoreProgressManager, value: T) -> None:
        if operation.measures is None:
            operation.measures = {"attempts": 1}  # metrics look for this one
        operation.measures[self._name] = value
