"""Nesting: a method of an observed object that calls another of the same object is one operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_inside: ContextVar[tuple[int, ...]] = ContextVar("encore_storage_inside_clients", default=())


def is_inside(target: object) -> bool:
    """Return True inside an operation of the target, also in tasks and threads that it started with its context."""
    return id(target) in _inside.get()


@contextmanager
def inside(target: object) -> Iterator[None]:
    """Return a block in which further calls of the target are part of the present operation."""
    before = _inside.get()
    _inside.set((*before, id(target)))
    try:
        yield
    finally:
        _inside.set(before)
