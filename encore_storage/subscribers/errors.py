"""The errors of subscribers, and of what serves what they found.

```
EncoreError
└── SubscriberError
    ├── AlreadyConnectedError     connected to another event manager (RuntimeError)
    ├── MissingExtraError         an optional dependency isn't installed (ImportError)
    ├── AddressError              nothing can be served at that address (OSError)
    └── TokenError                a token is missing, or could be guessed (ValueError)
```
"""

from __future__ import annotations

from encore_events.errors import EncoreError


class SubscriberError(EncoreError):
    """The root of what goes wrong in wiring; what goes wrong in observing is told by the bus."""


class AlreadyConnectedError(SubscriberError, RuntimeError):
    """A subscriber listens to one event manager at a time."""

    def __init__(self, subscriber: object, event_manager: object) -> None:
        """Say which `subscriber` is connected to which `event_manager` already."""
        super().__init__(
            f"{subscriber!r} already listens to {event_manager!r}: disconnect it first, or make another one"
        )
        self.subscriber = subscriber
        self.event_manager = event_manager


class MissingExtraError(SubscriberError, ImportError):
    """What was asked for needs a package that only comes with an extra."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        """Say which `package` the `feature` needs, and which `extra` brings it."""
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: "
            f"pip install 'encore-observability[{extra}]'",
            name=package,
        )
        self.feature = feature
        self.extra = extra


ANOTHER_PORT = "choose another port, or 0 for one that is free"
ANOTHER_HOST = "choose another host: a name or an address of this machine"


class AddressError(SubscriberError, OSError):
    """Nothing can be served at the address; most often the port is taken."""

    def __init__(self, host: str, port: int, reason: str, advice: str = ANOTHER_PORT) -> None:
        """Say why nothing can be served on `port` of `host`, and what to do."""
        super().__init__(f"nothing can be served on port {port} of {host!r}: {reason}; {advice}")
        self.host = host
        self.port = port
        self.reason = reason


class TokenError(SubscriberError, ValueError):
    """What others can reach is served to those with a token, and the token can't be guessed."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong, and what to do."""
        super().__init__(
            f"{reason}: pass token=... with something like secrets.token_urlsafe(32), or serve on 127.0.0.1 alone"
        )
        self.reason = reason
