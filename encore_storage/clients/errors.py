"""Errors of observed clients: the refusal of a target, and stand-ins for the errors that clients raise."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import ModuleType
from typing import Any, cast

from encore_events.copying import FindClass
from encore_events.errors import EncoreError
from encore_events.text import text_of
from encore_storage.errors import ErrorType, StoreError

_OBJECTS = {
    "aiobotocore": "client, session",
    "boto3": "client, resource, session",
    "botocore": "client, session",
    "fsspec": "file system",
    "sqlalchemy": "engine, async engine",
}
"""The objects that can be observed, by their libraries."""


class UnsupportedClientError(EncoreError, TypeError):
    """An object or library cannot be observed."""

    def __init__(self, target: object, supported: Iterable[str]) -> None:
        """Name the `target` by its kind, as its text may have passwords, and the supported libraries."""
        self.supported = sorted(supported)
        objects = ", ".join(f"{name} ({_OBJECTS[name]})" if name in _OBJECTS else name for name in self.supported)
        super().__init__(
            f"cannot observe {_kind_of(target)}: pass one of these modules or an object of it: {objects}; for other "
            "code, use a StoreObserver (docs/observing.md)"
        )


class ClientError(StoreError):
    """A stand-in for the error of a client, whose text may quote keys, statements and values.

    Its class has the name of the client's class.

    Attributes:
        error_type: the word of `encore_storage.errors.ERROR_TYPES` for it.
        code: the code of the service or driver, such as 'SlowDown' or '23505'; None if it has none.
        is_miss: True if the error means that the key is missing.
    """

    code: str | None = None
    is_miss: bool = False

    def _class(self) -> FindClass:
        """Return the class, which may have been made for the name of the client's class."""
        cls = type(self)
        return (_class_of, (cls.__name__,)) if "is_made" in vars(cls) else super()._class()


def stand_in(
    error: BaseException,
    error_type: ErrorType,
    *,
    code: str | None = None,
    is_miss: bool = False,
    with_text: bool = False,
) -> ClientError:
    """Return the stand-in for the error of a client, without a reference to it; its text only if `with_text`."""
    name = type(error).__name__
    text = text_of(error) if with_text else name if code in (None, name) else f"{name} {code}"
    made: Any = _class_of(name)(text)
    made.error_type, made.code, made.is_miss = error_type, code, is_miss
    return cast("ClientError", made)


def is_miss(error: BaseException) -> bool:
    """Return True if the error is a stand-in for one that means that the key is missing."""
    return isinstance(error, ClientError) and error.is_miss


@functools.lru_cache(maxsize=1000)
def _class_of(name: str) -> type[ClientError]:
    return type(name, (ClientError,), {"__module__": ClientError.__module__, "is_made": True})


def _kind_of(target: object) -> str:
    if isinstance(target, ModuleType):
        return f"the module {target.__name__!r}"
    cls = target if isinstance(target, type) else type(target)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"the class {name!r}" if cls is target else f"an object of {name!r}"
