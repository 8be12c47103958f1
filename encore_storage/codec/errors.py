"""The errors of the codec, and the bases of the errors that it decodes.

```
EncoreError
├── CodecError                    not a CloudEvent, or not a valid event (ValueError)
└── StoreError
    └── RecordedError             an error of a recorded event
BaseException
└── RecordedInterruption          the same for what is no Exception
```
"""

from __future__ import annotations

import functools
from typing import ClassVar

from encore_events.copying import CopyableError, FindClass, same_class
from encore_events.errors import EncoreError
from encore_storage.errors import StoreError


class CodecError(EncoreError, ValueError):
    """A message that is not a CloudEvent, or from which no event can be made.

    Attributes:
        place: the part of the message that is wrong, such as "data.duration".
        reason: a predicate, such as "must be a number, not 'long'".
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} {reason}")
        self.place = place
        self.reason = reason


class RecordedError(StoreError):
    """A decoded error. Its class has the name of the original class, and its `str` is the original message.

    Attributes:
        error_type: its recorded error type, one of `encore_storage.errors.ERROR_TYPES`.
        errno: the system's error number, or None.
    """

    errno: int | None = None

    def _class(self) -> FindClass:
        return _class_of(self, RecordedError)


class RecordedInterruption(CopyableError):  # noqa: N818 (it is no Exception)
    """A decoded interruption, such as a KeyboardInterrupt, which must not end the program that decodes it."""

    error_type: ClassVar[str | None] = None
    errno: int | None = None

    def _class(self) -> FindClass:
        return _class_of(self, RecordedInterruption)


@functools.lru_cache(maxsize=1000)
def error_class(name: str, error_type: str | None) -> type[RecordedError | RecordedInterruption]:
    """Return the class of decoded errors of that name. Raises ValueError if it is not a valid class name."""
    base = RecordedInterruption if error_type is None else RecordedError
    # In "builtins", so that tracebacks show the name without a module.
    return type(name, (base,), {"__module__": "builtins", "error_type": error_type})


def _class_of(error: RecordedError | RecordedInterruption, base: type) -> FindClass:
    cls = type(error)
    return (same_class, (cls,)) if cls is base else (error_class, (cls.__name__, cls.error_type))
