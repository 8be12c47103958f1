"""Frames, whole, in pieces and malformed."""

from __future__ import annotations

import json
import struct

import pytest

from encore_storage.processes.errors import FrameError
from encore_storage.processes.frames import (
    BYE,
    EVENTS,
    STATE,
    VERSION,
    Batch,
    FrameReader,
    Label,
    events_frame,
    frame,
    hello_frame,
    payload_of,
    read_events,
    read_hello,
)
from tests.processes.link_support import LABEL, PROCESS, payload

FRAMES = frame(STATE, b"{}") + events_frame(payload(b"a", b"bc"), 5) + frame(BYE)


def test_batch_keeps_events_and_labels() -> None:
    batch = Batch()
    labels = [LABEL, Label("own", "st\udc80re", "get", "ok", None), LABEL]
    for label in labels:
        batch.add(1.5, label, "ïd", "tëxt".encode())

    skipped, events = read_events(payload_of(events_frame(batch.payload(), 9)))

    assert skipped == 9
    assert list(events) == [(1.5, label, "ïd", "tëxt".encode()) for label in labels]
    assert repr(batch) == "<Batch: 3 events>"


def test_number_of_dropped_events_is_bounded() -> None:
    assert read_events(payload_of(events_frame(payload(), 2**40)))[0] == 2**32 - 1


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_reader_joins_pieces(size: int) -> None:
    reader = FrameReader()
    found = [each for at in range(0, len(FRAMES), size) for each in reader.read(FRAMES[at : at + size])]

    assert [kind for kind, _ in found] == [STATE, EVENTS, BYE]
    assert [text for _, _, _, text in read_events(found[1][1])[1]] == [b"a", b"bc"]
    assert repr(reader) == "<FrameReader: 0 bytes>"


def test_incomplete_frame_yields_nothing() -> None:
    reader = FrameReader()

    assert list(reader.read(FRAMES[:-1]))[-1][0] == EVENTS
    assert repr(reader) == "<FrameReader: 4 bytes>"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\0" * 5, b"\x02\xff\xff\xff\xff", b"\x09\0\0\0\0"])
def test_garbage_is_no_frame(garbage: bytes) -> None:
    with pytest.raises(FrameError, match="not a frame of Encore"):
        list(FrameReader().read(garbage))


def test_reader_limits_the_size_of_a_frame() -> None:
    with pytest.raises(FrameError, match="11 bytes"):
        list(FrameReader(lambda: 10).read(frame(STATE, b"x" * 11)))


def test_greeting_describes_a_process() -> None:
    assert read_hello(payload_of(hello_frame(PROCESS))) == PROCESS
    assert len(read_hello(payload_of(hello_frame(PROCESS._replace(name="x" * 1000)))).name) == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"version": VERSION + 1},
        {"pid": "7"},
        {"pid": -1},
        {"pid": True},
        {"name": None},
        {"started": None},
        {"started": True},
    ],
)
def test_malformed_greeting_is_refused(changed: dict[str, object]) -> None:
    hello = {"version": VERSION, **PROCESS._asdict()}

    with pytest.raises(FrameError):
        read_hello(json.dumps({**hello, **changed}).encode())


@pytest.mark.parametrize("hello", [b"", b"[]", b"{}", b"[" * 100_000, b"7", b"\xff"])
def test_greeting_of_something_else_is_refused(hello: bytes) -> None:
    with pytest.raises(FrameError):
        read_hello(hello)


def test_every_truncated_batch_is_refused() -> None:
    whole = payload_of(events_frame(payload(b"a", b"bc")))

    for size in range(len(whole)):
        with pytest.raises(FrameError):
            read_events(whole[:size])
    with pytest.raises(FrameError):
        read_events(whole + b"x")


def test_event_of_two_lines_is_refused() -> None:
    with pytest.raises(FrameError, match="more than one line"):
        read_events(payload_of(events_frame(payload(b"a\nid: 7"))))


@pytest.mark.parametrize(
    "labels",
    [
        *("[]", "7", "{}", "[7]", "[[]]", '[["t",null,null,null]]', '[["t",7,null,null,null]]', "[" * 50_000),
        *('[[null,"a","b","c",7]]', '[["t","a","b","c","7"]]', '[["t","a","b","c",true]]'),
    ],
)
def test_malformed_labels_are_refused(labels: str) -> None:
    text = labels.encode()
    record = struct.pack("<dIII", 0.0, 0, 0, 1)

    with pytest.raises(FrameError):
        read_events(struct.pack("<III", 0, 1, len(text)) + text + record + b"x")


def test_batch_of_a_huge_count_is_refused() -> None:
    with pytest.raises(FrameError):
        read_events(struct.pack("<III", 0, 2**32 - 1, 2) + b"[]")
