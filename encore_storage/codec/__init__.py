"""Events as CloudEvents 1.0 in JSON, and back."""

from encore_storage.codec.errors import CodecError, RecordedError, RecordedInterruption
from encore_storage.codec.events import EventCodec
from encore_storage.codec.messages import Message
from encore_storage.codec.recorded import GenericEvent, RecordedSource
from encore_storage.codec.text import dumps
from encore_storage.codec.types import TYPES

__all__ = [
    "TYPES",
    "CodecError",
    "EventCodec",
    "GenericEvent",
    "Message",
    "RecordedError",
    "RecordedInterruption",
    "RecordedSource",
    "dumps",
]
