"""The errors of subscribers and of serving.

```
EncoreError
└── SubscriberError
    ├── AlreadyConnectedError     connected to another event manager (RuntimeError)
    ├── MissingExtraError         an optional dependency isn't installed (ImportError)
    ├── StillFailingError         a log line can't be written, as the one before it (OSError)
    ├── AddressError              nothing can be served at that address (OSError)
    └── TokenError                the token is missing or too short (ValueError)
```
"""

from __future__ import annotations

from encore_events.errors import EncoreError


class SubscriberError(EncoreError):
    """The root of errors in wiring. Errors while observing are reported by the event manager."""


class AlreadyConnectedError(SubscriberError, RuntimeError):
    """The subscriber is connected to another event manager."""

    def __init__(self, subscriber: object, event_manager: object) -> None:
        super().__init__(
            f"{subscriber!r} already listens to {event_manager!r}: disconnect it first, or make another one"
        )
        self.subscriber = subscriber
        self.event_manager = event_manager


class MissingExtraError(SubscriberError, ImportError):
    """A feature needs a package that an extra installs."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: "
            f"run pip install '.[{extra}]' in a clone of Encore",
            name=package,
        )
        self.feature = feature
        self.extra = extra


class StillFailingError(SubscriberError, OSError):
    """A log line can't be written, and neither could the one before it."""


ANOTHER_PORT = "choose another port, or 0 for one that is free"
ANOTHER_HOST = "choose another host: a name or an address of this machine"


class AddressError(SubscriberError, OSError):
    """Nothing can be served at the address; most often the port is taken.

    Attributes:
        is_taken: whether another socket listens there.
    """

    def __init__(
        self, host: str, port: int, reason: str, advice: str = ANOTHER_PORT, *, is_taken: bool = False
    ) -> None:
        super().__init__(f"nothing can be served on port {port} of {host!r}: {reason}; {advice}")
        self.host = host
        self.port = port
        self.reason = reason
        self.is_taken = is_taken


class TokenError(SubscriberError, ValueError):
    """Other machines can reach the server, and its token is missing or could be guessed."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: pass token=... with something like secrets.token_urlsafe(32), or serve on 127.0.0.1 alone"
        )
        self.reason = reason
