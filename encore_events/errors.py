"""The errors of the bus.

```
EncoreError
├── EventError                 an event that is not made as events are made (TypeError)
├── InvalidListenerError       a listener, filter or predicate that could never be called (TypeError)
├── NotConnectedError          disconnect() of what isn't connected (KeyError)
├── NoRunningLoopError         a coroutine listener, emitted to where no loop runs (RuntimeError)
├── ManagerClosedError         connect() after close() (RuntimeError)
├── DefaultManagerError        a second default event manager (ValueError)
├── StreamError                stream() with a policy or a capacity that there isn't (ValueError)
├── ProgressError              a start, step or end out of turn (RuntimeError)
└── ForkedError                use in a forked child of what its parent has under way (RuntimeError)
```

`encore_storage.errors` grows the other branch of the tree.
"""

from __future__ import annotations

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
    "StreamError",
]


class EncoreError(Exception):
    """The root of every error that Encore itself raises."""


class EventError(EncoreError, TypeError):
    """An event, or an event class, that breaks the rules of events."""


class InvalidListenerError(EncoreError, TypeError):
    """What was given to `connect` could never be called with an event."""

    def __init__(self, listener: object, reason: str) -> None:
        """Say that `listener` was refused, and why."""
        super().__init__(f"cannot connect {listener!r}: {reason}")
        self.listener = listener
        self.reason = reason


class NotConnectedError(EncoreError, KeyError):
    """`disconnect` was asked for a function that isn't connected to that class."""

    def __init__(self, cls: type, listener: object) -> None:
        """Say which `listener` isn't connected to which event class."""
        super().__init__(f"{listener!r} is not connected to {cls.__name__}")
        self.cls = cls
        self.listener = listener

    def __str__(self) -> str:
        """The sentence itself; KeyError would show its repr."""
        return str(self.args[0])


class NoRunningLoopError(EncoreError, RuntimeError):
    """A coroutine listener had to be scheduled where no event loop runs."""

    def __init__(self, listener: object) -> None:
        """Say which `listener` could not be scheduled, and what to do."""
        super().__init__(
            f"no event loop runs here to schedule the coroutine listener {listener!r}: "
            "emit from a coroutine, or with block=False, or await emit_async()"
        )
        self.listener = listener


class ManagerClosedError(EncoreError, RuntimeError):
    """`connect` was called on an event manager that has been closed."""

    def __init__(self, manager: object) -> None:
        """Say which `manager` is closed."""
        super().__init__(f"{manager!r} is closed: connect to a new EventManager")
        self.manager = manager


class DefaultManagerError(EncoreError, ValueError):
    """`set_event_manager` came after a default was set or had been used."""

    def __init__(self, current: object) -> None:
        """Say which manager is the default already."""
        super().__init__(
            f"the default event manager is already {current!r}: "
            "call set_event_manager() once, before anything asks for the default"
        )
        self.current = current


class StreamError(EncoreError, ValueError):
    """`stream` was asked for a policy that there isn't, or for a capacity that is none."""

    def __init__(self, argument: str, value: object, expected: str) -> None:
        """Say which `argument` was refused, and what was `expected`."""
        super().__init__(f"cannot make a stream with {argument}={value!r}: it must be {expected}")
        self.argument = argument
        self.value = value
        self.expected = expected


class ProgressError(EncoreError, RuntimeError):
    """`start`, `step` or `end` of a progress manager out of turn: an operation starts once, and ends once."""

    def __init__(self, method: str, message: str) -> None:
        """Say which `method` was called out of turn, for the operation `message`."""
        reason = "after its start()" if method == "start" else "outside of its start() and end()"
        super().__init__(f"{method}() of {message!r} {reason}")
        self.method = method


class ForkedError(EncoreError, RuntimeError):
    """A forked child used what was under way in its parent at the fork."""

    def __init__(self, what: str, pid: int, advice: str) -> None:
        """Name `what` was used, the process `pid` that it belongs to, and what to do."""
        super().__init__(f"{what} belongs to process {pid}, from which this process was forked: {advice}")
        self.what = what
        self.pid = pid
        self.advice = advice
