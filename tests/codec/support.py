"""A program's own events, and helpers to encode them."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from encore_events import BaseEvent
from encore_storage.codec import EventCodec


class Opened(BaseEvent):
    """A program's own event."""

    door: str
    contents: Any = None
    kind: ClassVar[str] = "door"


class Measured(BaseEvent):
    """An event with an __init__ and a property of its own."""

    width: float
    unit: str = "m"

    def __init__(self, width: float) -> None:
        super().__init__(width=width)

    @property
    def area(self) -> float:
        return self.width**2


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def encoded(event: BaseEvent, codec: EventCodec | None = None, **options: Any) -> Any:
    return json.loads((codec or EventCodec()).encode(event, **options))


def data(event: BaseEvent, codec: EventCodec | None = None) -> Any:
    return encoded(event, codec)["data"]
