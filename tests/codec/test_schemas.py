"""The JSON Schemas match the messages and the docs."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from encore_events import BaseEvent
from encore_storage.codec import TYPES, EventCodec
from encore_storage.codec.fields import fields_of, summary_of
from encore_storage.codec.schemas import schema_of, write_schemas

DOCS = Path(__file__).parents[2] / "docs"
VALIDATORS = {name: Draft202012Validator(schema_of(name)) for name in TYPES}
ENDED = "encore.storage.operation.ended"
Messages = dict[str, list[Any]]


@pytest.fixture
def messages(events: list[BaseEvent]) -> Messages:
    """Return the messages of a workload by type, encoded with various options."""
    found: Messages = {name: [] for name in TYPES}
    for codec in (EventCodec(), EventCodec(metadata=True), EventCodec(keys=False), EventCodec(keys=str.upper)):
        for event in events:
            if codec.type_of(event) in TYPES:
                found[codec.type_of(event)].append(json.loads(codec.encode(event)))
    return found


def test_schemas_in_docs_are_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "encore.storage.key.renamed.json").write_text("{}")  # of a removed type
    (tmp_path / "mine.json").write_text("{}")

    command = [sys.executable, "-W", "error", "-m", "encore_storage.codec.schemas", str(tmp_path)]
    subprocess.run(command, check=True)
    write_schemas(tmp_path)

    (tmp_path / "mine.json").unlink()
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in (DOCS / "schemas").glob("encore.*")}, "make schemas"
    assert built.keys() == {f"{name}.json" for name in TYPES}


@pytest.mark.parametrize("name", TYPES)
def test_schema_is_valid_and_describes_each_attribute(name: str) -> None:
    schema = schema_of(name)

    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    attributes = schema["properties"]["data"]["properties"]
    assert [attribute for attribute, schema in attributes.items() if not schema.get("description")] == []


def test_every_message_of_a_workload_matches_its_schema(messages: Messages) -> None:
    for name, encoded in messages.items():
        assert encoded, f"no message of type {name}"
        for message in encoded:
            VALIDATORS[name].validate(message)


def test_workload_has_all_outcomes(messages: Messages) -> None:
    outcomes = {message["data"]["outcome"] for message in messages[ENDED]}
    transactions = {message["data"]["outcome"] for message in messages["encore.storage.transaction.ended"]}

    assert outcomes == {"ok", "miss", "error", "cancelled"}
    assert transactions == {"committed", "rolled_back", "closed"}


@pytest.mark.parametrize("name", TYPES)
def test_schema_rejects_missing_attributes_and_wrong_types(messages: Messages, name: str) -> None:
    schema, message = schema_of(name), messages[name][0]
    data = schema["properties"]["data"]
    mutants = [without(message, each) for each in schema["required"]]
    mutants += [{**message, each: 5} for each in schema["required"]]
    mutants += [{**message, "data": without(message["data"], each)} for each in data["required"]]
    free = {each for each, schema in data["properties"].items() if schema.keys() <= {"description"}}
    for attribute in data["properties"].keys() - free:
        mutants.append({**message, "data": {**message["data"], attribute: [[]]}})

    assert [mutant for mutant in mutants if VALIDATORS[name].is_valid(mutant)] == []


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("outcome", "fine"),
        ("outcome", None),
        ("operation", "rename"),
        ("bytes", 0.5),
        ("duration", None),
        ("error", {"type": "", "error_type": "other"}),
        ("error", {"type": "A", "error_type": "mine"}),
        ("error", {"type": "A", "error_type": "other", "traceback": "x"}),
        ("added", {"a": 1}),
    ],
)
def test_schema_rejects_unknown_choices_and_added_attributes_that_are_no_scalars(
    messages: Messages, attribute: str, value: object
) -> None:
    message = copy.deepcopy(messages[ENDED][0])
    message["data"]["added"] = "plain"
    assert VALIDATORS[ENDED].is_valid(message)

    message["data"][attribute] = value

    assert not VALIDATORS[ENDED].is_valid(message)


def table() -> str:
    """Return the table of types in the docs."""
    rows = ["| type | event | what happened | data |", "|---|---|---|---|"]
    for name, cls in TYPES.items():
        link = f"[`{name}`](schemas/{name}.json)"
        rows.append(f"| {link} | {cls.__name__} | {summary_of(cls)} | {', '.join(fields_of(cls))} |")
    return "\n".join(rows)


def test_table_of_types_in_docs_is_up_to_date() -> None:
    page = (DOCS / "cloudevents.md").read_text(encoding="utf-8")

    assert table() in page, f"put this table into docs/cloudevents.md:\n{table()}"


def without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in data.items() if each != name}
