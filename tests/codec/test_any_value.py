"""Keys, ids and values that JSON or its encoders do not support."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import subprocess
import sys
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from encore_storage.codec import EventCodec
from encore_storage.events import StoreProgressStartEvent, StoreSetEvent
from tests.codec.support import SilentError, data


class Key(str):
    __slots__ = ()
    __str__ = SilentError.__str__  # which raises


class Colour(enum.Enum):
    RED = "red"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CASES: list[tuple[object, object]] = [
    ("\ud83d", "\ud83d"),
    ('a\u2028"\\\x00ä😀', 'a\u2028"\\\x00ä😀'),
    (Key("sub"), "sub"),
    (2**64, 2**64),
    (-(2**100), -(2**100)),
    (10**5000, None),
    (math.nan, None),
    (-math.inf, None),
    ([math.nan, 2**64, True, None], [None, 2**64, True, None]),
    ({Key("sub"): 1, 2: Colour.RED}, {"sub": 1, "2": "red"}),
    (MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (dt.datetime(2026, 11, 24, 16, 30, tzinfo=dt.UTC), "2026-11-24T16:30:00Z"),
    (dt.date(2026, 11, 24), "2026-11-24"),
    (decimal.Decimal("1.50"), "1.50"),
    (Path("a/b"), "a/b"),
    (Colour.RED, "red"),
    ([b"x", object], [None, "<class 'object'>"]),
    (SilentError(), {"type": "SilentError", "message": "<SilentError>", "error_type": "other"}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_any_value_is_encoded(encoder: str, case: int) -> None:
    value, expected = CASES[case]
    event = StoreProgressStartEvent(store="a", operation_id=value, message="m")

    assert data(event)["operation_id"] == expected


def test_deep_nesting_is_cut_off(encoder: str) -> None:
    line = EventCodec().encode(StoreProgressStartEvent(store="a", operation_id=nested(5000)))

    assert EventCodec().decode(line).event.source.name == "a"


def test_any_key_survives_a_round_trip(codec: EventCodec, encoder: str) -> None:
    for key in ("\ud800/lone", Key("sub"), "\x00", "\U0001d542" * 1000):
        event = codec.decode(codec.encode(StoreSetEvent(store="a", key=key))).event
        assert vars(event)["key"] == str.__str__(key)


WITHOUT_ORJSON = """
import sys
sys.modules["orjson"] = None
from encore_storage.codec import EventCodec
from encore_storage.events import StoreSetEvent
print(EventCodec().encode(StoreSetEvent(store="ä", key="\\U0001d542"), id="1", time=0).decode())
"""


def test_standard_library_encodes_without_orjson() -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_ORJSON]
    line = subprocess.run(command, capture_output=True, check=True).stdout.rstrip()

    event = StoreSetEvent(store="ä", key="\U0001d542")
    assert EventCodec().decode(line).event.source.name == "ä"
    own = json.loads(EventCodec().encode(event, id="1", time=0))
    assert json.loads(line) | {"process": None} == own | {"process": None}
