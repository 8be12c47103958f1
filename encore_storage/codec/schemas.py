"""JSON Schemas of the CloudEvents; `python -m encore_storage.codec.schemas DIRECTORY` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore_events.events import BaseEvent
from encore_storage.codec.encoding import QUOTING
from encore_storage.codec.fields import Field, fields_of, summary_of
from encore_storage.codec.messages import VERSION
from encore_storage.codec.types import TYPES
from encore_storage.errors import ERROR_TYPES
from encore_storage.events import StoreEvent, StoreTransactionEndEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_ADDED = {"description": "an attribute that a program has added", "type": ["string", "number", "boolean", "null"]}
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "minLength": 1, "description": "the name of its class"},
        "message": {"type": "string", "description": "its message; where keys are redacted, that of the system"},
        "error_type": {
            "description": "its type in metrics and logs; null for what is no Exception",
            "enum": [*ERROR_TYPES, None],
        },
        "errno": {"type": "integer", "description": "the system's error number"},
    },
    "required": ["type", "error_type"],
    "additionalProperties": False,
}


def schema_of(type_: str) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a type of message. Raises KeyError if there is no such type.

    >>> schema_of("encore.events.dropped")["properties"]["data"]["required"]
    ['queue', 'reason', 'count']
    """
    cls = TYPES[type_]
    return {
        "$schema": DIALECT,
        "title": cls.__name__,
        "description": summary_of(cls),
        "type": "object",
        "properties": {
            "specversion": {"const": VERSION},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1, "format": "uri-reference"},
            "type": {"const": type_},
            "time": {"type": "string", "format": "date-time", "description": "when it was emitted"},
            "process": {"type": "integer", "minimum": 1, "description": "the id of the process that emitted it"},
            "datacontenttype": {"const": "application/json"},
            "data": _data(cls),
        },
        "required": ["specversion", "id", "source", "type", "time", "datacontenttype", "data"],
    }


def schema_files() -> Mapping[str, str]:
    """Return the schemas by file name."""
    return {f"{name}.json": json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n" for name in TYPES}


def write_schemas(directory: Path) -> None:
    """Write a file for each type, and remove those of types that no longer exist."""
    directory.mkdir(parents=True, exist_ok=True)
    files = schema_files()
    for path in directory.glob("encore.*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def _data(cls: type[BaseEvent]) -> Schema:
    fields = fields_of(cls)
    properties = {field.name: _attribute(field) for field in fields.values()}
    if issubclass(cls, StoreTransactionEndEvent):
        description = "the error type, as in the error"
        properties["error_type"] = {"description": description, "enum": [*ERROR_TYPES, None]}
    if issubclass(cls, StoreEvent):
        properties["backend"] = {"description": "the kind of store", "type": ["string", "null"]}
    return {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in fields.values() if field.is_required and field.name not in QUOTING],
        "additionalProperties": _ADDED,
    }


def _attribute(field: Field) -> Schema:
    described = {"description": field.description} if field.description else {}
    nullable = "null" in field.kinds
    if field.choices:
        return described | {"enum": [*field.choices, None] if nullable else list(field.choices)}
    if "any" in field.kinds:
        return described
    if "error" in field.kinds:
        return described | ({"anyOf": [_ERROR, {"type": "null"}]} if nullable else _ERROR)
    kinds = sorted(field.kinds - {"null"}) + ["null"] * nullable
    return described | {"type": kinds if len(kinds) > 1 else kinds[0]}


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
