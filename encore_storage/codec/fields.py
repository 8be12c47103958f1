"""The declared attributes of event classes, with their JSON types and their descriptions."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from encore_events.events import BaseEvent

Kind = Literal["string", "number", "integer", "boolean", "null", "object", "error", "any"]

_KINDS: dict[Any, Kind] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
INTERNAL = ("source", "_handled", "_encore_id", "_encore_recorded", "_encore_metadata", "_encore_pending")
"""Attributes that are not data: the envelope has the source, the id, the time and the process, the rest is state."""

_DOCUMENTED = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Field(NamedTuple):
    """A declared attribute.

    Attributes:
        kinds: its JSON types; 'error' is an encoded error.
        choices: the strings that it may be, if they are a closed set.
        is_required: whether every event of the class has it.
        description: its description in the docstring of the class.
    """

    name: str
    kinds: frozenset[Kind]
    choices: tuple[str, ...]
    is_required: bool
    description: str


def declared_names(cls: type) -> Iterator[tuple[str, type]]:
    """Yield the declared attributes and their classes, those of base classes first."""
    for base in reversed(cls.__mro__[:-1]):
        for name, hint in inspect.get_annotations(base).items():
            is_attribute = not (name.startswith("_") or "ClassVar" in str(hint))
            if is_attribute and name != "source":
                yield name, base


def fields_of(cls: type[BaseEvent]) -> Mapping[str, Field]:
    """Return the declared attributes of one of Encore's own classes by name."""
    hints = typing.get_type_hints(cls)
    described = {name: text for base in reversed(cls.__mro__[:-1]) for name, text in _descriptions(base)}
    names = dict.fromkeys(name for name, _ in declared_names(cls))
    return {name: _field(cls, name, hints[name], described.get(name, "")) for name in names}


def summary_of(cls: type) -> str:
    """Return the first line of the docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _field(cls: type, name: str, hint: Any, description: str) -> Field:
    kinds, choices = set[Kind](), list[str]()
    for each in _alternatives(hint):
        if get_origin(each) is Literal:
            kinds.add("string")
            choices.extend(get_args(each))
        else:
            kinds.add(_kind(each))
    return Field(name, frozenset(kinds), tuple(choices), not hasattr(cls, name), description)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _kind(hint: Any) -> Kind:
    if hint in _KINDS:
        return _KINDS[hint]
    if hint is Any:
        return "any"
    if get_origin(hint) is not None:
        return "object"
    return "error" if issubclass(hint, BaseException) else "string"  # events and listeners are encoded as names


def _descriptions(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the attributes and descriptions of the section 'Attributes:' of a docstring, each on one line."""
    attributes = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")[2]
    for name, description in _DOCUMENTED.findall(attributes):
        yield name, " ".join(description.split())
