"""The class tree and the attributes of the store events."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from encore_events import BaseEvent, EventError, ProgressEndEvent, ProgressEvent, ProgressStartEvent, ProgressStepEvent
from encore_storage import events
from encore_storage.events import (
    StoreDeleteEvent,
    StoreEvent,
    StoreKeyEvent,
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressEvent,
    StoreProgressStartEvent,
    StoreProgressStepEvent,
    StoreSetEvent,
    StoreTransactionEndEvent,
    StoreTransactionEvent,
    StoreTransactionStartEvent,
    StoreUpdateEvent,
)

BASES: dict[type[BaseEvent], tuple[type[BaseEvent], ...]] = {
    StoreEvent: (BaseEvent,),
    StoreTransactionEvent: (StoreEvent,),
    StoreTransactionStartEvent: (StoreTransactionEvent,),
    StoreTransactionEndEvent: (StoreTransactionEvent,),
    StoreKeyEvent: (StoreEvent,),
    StoreModificationEvent: (StoreKeyEvent,),
    StoreSetEvent: (StoreModificationEvent,),
    StoreUpdateEvent: (StoreModificationEvent,),
    StoreDeleteEvent: (StoreModificationEvent,),
    StoreProgressEvent: (ProgressEvent, StoreKeyEvent),
    StoreProgressStartEvent: (ProgressStartEvent, StoreProgressEvent),
    StoreProgressStepEvent: (ProgressStepEvent, StoreProgressEvent),
    StoreProgressEndEvent: (ProgressEndEvent, StoreProgressEvent),
}
IDENTITY = {
    "timestamp",
    "source",
    "operation_id",
    "message",
    "steps",
    "store",
    "operation",
    "direction",
    "key",
    "metadata",
    "transaction_id",
    "parent_id",
}
CHANGE = {"source", "store", "key", "metadata", "action", "transaction_id", "timestamp"}
ATTRIBUTES: dict[type[BaseEvent], set[str]] = {
    StoreProgressStartEvent: IDENTITY,
    StoreProgressStepEvent: IDENTITY | {"step", "delta"},
    StoreProgressEndEvent: {
        *IDENTITY,
        *("exit_state", "outcome", "bytes", "delta", "duration", "error", "error_type"),
        *("items", "attempts", "first_byte", "fetched"),
    },
    StoreTransactionStartEvent: {"source", "store", "transaction_id", "parent_id", "notes", "timestamp"},
    StoreTransactionEndEvent: {
        *("source", "store", "transaction_id", "notes", "state", "outcome", "duration", "commit_duration"),
        *("operations", "held", "error", "parent_id"),
    },
    **dict.fromkeys((StoreSetEvent, StoreUpdateEvent, StoreDeleteEvent), CHANGE),
}


@pytest.mark.parametrize(("cls", "bases"), BASES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_event_class_has_its_bases(cls: type[BaseEvent], bases: tuple[type[BaseEvent], ...]) -> None:
    assert cls.__bases__ == bases


def test_events_module_defines_no_other_events() -> None:
    found = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, BaseEvent)}

    assert {cls for cls in found if cls.__module__ == events.__name__} == set(BASES)


@pytest.mark.parametrize(("cls", "names"), ATTRIBUTES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_event_attributes_are_declared_and_documented(cls: type[BaseEvent], names: set[str]) -> None:
    declared = {name for name in get_type_hints(cls) if not name.startswith("_")}
    documented = "".join(base.__doc__ or "" for base in cls.__mro__ if issubclass(base, BaseEvent))

    assert declared == names
    assert all(f"{name}:" in documented for name in names)


@pytest.mark.parametrize(
    ("cls", "action"), [(StoreSetEvent, "set"), (StoreUpdateEvent, "update"), (StoreDeleteEvent, "delete")]
)
def test_modification_event_has_its_action(cls: type[StoreModificationEvent], action: str) -> None:
    assert cls(key="a").action == action


def test_operation_names_are_a_closed_set() -> None:
    assert get_args(events.Operation) == (
        *("get", "get_range", "get_metadata", "exists", "query", "list"),
        *("set", "set_metadata", "update_metadata", "delete", "copy", "move", "execute"),
    )


def test_extra_keywords_become_attributes() -> None:
    event: Any = StoreSetEvent(key="a", colour="red")

    assert (event.key, event.colour, event.transaction_id) == ("a", "red", None)
    with pytest.raises(EventError, match="'handled'"):
        StoreSetEvent(handled=True)
