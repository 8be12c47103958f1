"""The errors of the bus.

```
EncoreError
├── EventError                 a malformed event or event class (TypeError)
├── InvalidListenerError       a listener, filter or predicate that can never be called (TypeError)
├── NotConnectedError          disconnect() of a function that isn't connected (KeyError)
├── NoRunningLoopError         emit() to a coroutine listener without a running loop (RuntimeError)
├── ManagerClosedError         connect() after close() (RuntimeError)
├── SignalError                send() or muted() of the signal of an event class (RuntimeError)
├── DefaultManagerError        a second default event manager (ValueError)
├── StreamError                stream() with an unknown policy or an impossible capacity (ValueError)
├── ProgressError              start(), step() or end() out of order (RuntimeError)
└── ForkedError                use of a parent's open object in a forked child (RuntimeError)
```

`encore_storage.errors` extends the tree.
"""

from __future__ import annotations

from encore_events.copying import CopyableError

__all__ = [
    "DefaultManagerError",
    "EncoreError",
    "EventError",
    "ForkedError",
    "InvalidListenerError",
    "ManagerClosedError",
    "NoRunningLoopError",
    "NotConnectedError",
    "ProgressError",
    "SignalError",
    "StreamError",
]


class EncoreError(CopyableError, Exception):
    """The base class of all errors that Encore raises. They can be copied and pickled."""


class EventError(EncoreError, TypeError):
    """A malformed event or event class."""


class InvalidListenerError(EncoreError, TypeError):
    """A `listener` that `connect` refused, and the `reason`."""

    def __init__(self, listener: object, reason: str) -> None:
        super().__init__(f"cannot connect {listener!r}: {reason}")
        self.listener = listener
        self.reason = reason


class NotConnectedError(EncoreError, KeyError):
    """A `listener` passed to `disconnect` that isn't connected to `cls`."""

    def __init__(self, cls: type, listener: object) -> None:
        super().__init__(f"{listener!r} is not connected to {cls.__name__}")
        self.cls = cls
        self.listener = listener

    def __str__(self) -> str:
        """Return the message; KeyError would return its repr."""
        return str(self.args[0])


class NoRunningLoopError(EncoreError, RuntimeError):
    """A coroutine `listener` that could not be scheduled."""

    def __init__(self, listener: object) -> None:
        super().__init__(
            f"no event loop runs here to schedule the coroutine listener {listener!r}: "
            "emit from a coroutine, or with block=False, or await emit_async()"
        )
        self.listener = listener


class ManagerClosedError(EncoreError, RuntimeError):
    """`connect` was called on a closed `manager`."""

    def __init__(self, manager: object) -> None:
        super().__init__(f"{manager!r} is closed: connect to a new EventManager")
        self.manager = manager


class SignalError(EncoreError, RuntimeError):
    """A `method` of blinker that the signal of an event class, `cls`, does not have."""

    def __init__(self, method: str, cls: type, advice: str) -> None:
        super().__init__(f"cannot call {method}() of the signal of {cls.__name__}: {advice}")
        self.method = method
        self.cls = cls
        self.advice = advice


class DefaultManagerError(EncoreError, ValueError):
    """`set_event_manager` was called while `current` was already the default."""

    def __init__(self, current: object) -> None:
        super().__init__(
            f"the default event manager is already {current!r}: "
            "call set_event_manager() once, before anything asks for the default"
        )
        self.current = current


class StreamError(EncoreError, ValueError):
    """A bad `value` of an `argument` of `stream`."""

    def __init__(self, argument: str, value: object, expected: str) -> None:
        super().__init__(f"cannot make a stream with {argument}={value!r}: it must be {expected}")
        self.argument = argument
        self.value = value
        self.expected = expected


class ProgressError(EncoreError, RuntimeError):
    """A `method` of a progress manager called out of order. An operation starts once and ends once."""

    def __init__(self, method: str, message: str) -> None:
        reason = "after its start()" if method == "start" else "before its start() or after its end()"
        super().__init__(f"{method}() of {message!r} {reason}")
        self.method = method


class ForkedError(EncoreError, RuntimeError):
    """A forked child used an object that was open in its parent, process `pid`, at the fork."""

    def __init__(self, what: str, pid: int, advice: str) -> None:
        super().__init__(f"{what} belongs to process {pid}, from which this process was forked: {advice}")
        self.what = what
        self.pid = pid
        self.advice = advice
