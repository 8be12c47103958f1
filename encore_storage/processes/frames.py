"""The frames that the processes of a group send to the one that serves the page.

A connection begins with a HELLO frame. EVENTS and STATE frames follow. A BYE frame precedes the end of a process that
closes its connection; without one, the process has vanished. The other side answers with the number of EVENTS frames
taken so far, as an unsigned int of 8 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from encore_storage.processes.errors import FrameError
from encore_storage.processes.info import ProcessInfo

HELLO, EVENTS, STATE, BYE = range(1, 5)
"""The kinds of frames."""

VERSION = 1  # of the frames; processes with another one are refused
MAX_FRAME = 32 * 1024 * 1024  # bytes
MAX_BATCH = 128 * 1024  # bytes of events, after which a batch is full
MAX_EVENT = MAX_FRAME - 65536  # bytes of an event; with its label, it must fit into a frame

TAKEN = struct.Struct("<Q")

_FRAME = struct.Struct("<BI")  # kind, bytes of the payload
_BATCH = struct.Struct("<II")  # number of events, bytes of the labels
_SKIPPED = struct.Struct("<I")
_RECORD = struct.Struct("<dIII")  # time, place of the label, bytes of the id, bytes of the text
_MAX_SKIPPED = 2**32 - 1
_MAX_NAME = 200  # characters


class Label(NamedTuple):
    """The attributes by which clients select events. Most events of a batch share a few labels."""

    type: str
    store: str | None
    operation: str | None
    outcome: str | None
    process: int | None


ForwardedEvent = tuple[float, Label, str, bytes]
"""The time of an event in seconds since the epoch, its label, its CloudEvents id, and its CloudEvent on one line."""


class Batch:
    """Events on their way into an EVENTS frame."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0  # bytes of ids and texts
        self._labels: dict[Label, int] = {}
        self._records: list[bytes] = []
        self._bodies: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Batch: {self.count} events>"

    def add(self, time: float, label: Label, id_: str, text: bytes) -> None:
        """Append an event."""
        place = self._labels.setdefault(label, len(self._labels))
        id_bytes = id_.encode("utf-8", "surrogatepass")
        self._records.append(_RECORD.pack(time, place, len(id_bytes), len(text)))
        self._bodies += id_bytes, text
        self.count += 1
        self.size += len(id_bytes) + len(text)

    def payload(self) -> bytes:
        """Return the batch as bytes, for `events_frame`."""
        labels = json.dumps(list(self._labels)).encode("ascii")
        return b"".join([_BATCH.pack(self.count, len(labels)), labels, *self._records, *self._bodies])


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return _FRAME.pack(kind, len(payload)) + payload


def events_frame(payload: bytes, skipped: int = 0) -> bytes:
    """Return the frame of a batch, after `skipped` dropped events."""
    return _FRAME.pack(EVENTS, _SKIPPED.size + len(payload)) + _SKIPPED.pack(min(skipped, _MAX_SKIPPED)) + payload


def payload_of(framed: bytes) -> bytes:
    """Return the payload of a frame."""
    return framed[_FRAME.size :]


def hello_frame(process: ProcessInfo) -> bytes:
    """Return the first frame of a process."""
    return frame(HELLO, json.dumps({"version": VERSION, **process._asdict()}).encode("ascii"))


def read_hello(payload: bytes) -> ProcessInfo:
    """Return the description of a process. Raises FrameError."""
    try:
        hello = json.loads(payload)
        if hello["version"] != VERSION:
            raise FrameError(f"version {hello['version']!r}, not {VERSION}")
        pid, name, started = hello["pid"], hello["name"], hello["started"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise error if isinstance(error, FrameError) else FrameError("a malformed greeting") from error
    if not (type(pid) is int and pid > 0 and isinstance(name, str) and type(started) in (int, float)):
        raise FrameError("a malformed greeting")
    return ProcessInfo(pid, name[:_MAX_NAME], float(started))


def read_events(payload: bytes) -> tuple[int, Iterator[ForwardedEvent]]:
    """Return the number of events dropped before a batch, and its events. Raises FrameError."""
    try:
        (skipped,) = _SKIPPED.unpack_from(payload)
        count, labels_size = _BATCH.unpack_from(payload, _SKIPPED.size)
        labels_start = _SKIPPED.size + _BATCH.size
        labels_end = labels_start + labels_size
        bodies_start = labels_end + count * _RECORD.size
        if bodies_start > len(payload):
            raise FrameError("a batch that ends too early")
        labels = [_label(each) for each in json.loads(payload[labels_start:labels_end])]
        records = list(_RECORD.iter_unpack(payload[labels_end:bodies_start]))
    except (struct.error, ValueError, TypeError, RecursionError) as error:
        raise error if isinstance(error, FrameError) else FrameError("a malformed batch") from error
    size = sum([record[2] for record in records]) + sum([record[3] for record in records])
    if bodies_start + size != len(payload):
        raise FrameError("a batch of another length than its events")
    if payload.find(b"\n", bodies_start) >= 0:
        raise FrameError("an event of more than one line")  # it would end the message that it becomes
    if any(record[1] >= len(labels) for record in records):
        raise FrameError("an event without a label")
    return skipped, _events(payload, bodies_start, labels, records)


def _events(
    payload: bytes, start: int, labels: list[Label], records: list[tuple[float, int, int, int]]
) -> Iterator[ForwardedEvent]:
    for time, place, id_size, text_size in records:
        middle = start + id_size
        end = middle + text_size
        yield time, labels[place], payload[start:middle].decode("utf-8", "replace"), payload[middle:end]
        start = end


def _label(values: list[object]) -> Label:
    type_, *names, process = values
    is_valid = (
        isinstance(type_, str)
        and len(values) == len(Label._fields)
        and all(name is None or isinstance(name, str) for name in names)
        and (process is None or type(process) is int)
    )
    if not is_valid:
        raise FrameError("a malformed label")
    return Label(*values)  # type: ignore[arg-type]  # checked above


class FrameReader:
    """A parser of the frames in received bytes. An incomplete frame waits for its rest."""

    def __init__(self, most: Callable[[], int] = lambda: MAX_FRAME) -> None:
        """`most` returns the maximum number of bytes of the next payload."""
        self._most = most
        self._received = bytearray()

    def __repr__(self) -> str:
        return f"<FrameReader: {len(self._received)} bytes>"

    def read(self, received: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the kind and payload of each frame that is complete now. Raises FrameError."""
        data = self._received
        data += received
        start = 0
        try:
            while len(data) - start >= _FRAME.size:
                kind, size = _FRAME.unpack_from(data, start)
                if kind not in (HELLO, EVENTS, STATE, BYE):
                    raise FrameError(f"kind {kind}")
                if size > self._most():
                    raise FrameError(f"{size:,} bytes")
                end = start + _FRAME.size + size
                if end > len(data):
                    break
                payload = bytes(memoryview(data)[start + _FRAME.size : end])
                start = end
                yield kind, payload
        finally:
            del data[:start]
