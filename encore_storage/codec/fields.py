"""The declared attributes of event classes: what JSON they may have, and what they mean."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from encore_events.events import BaseEvent

Kind = Literal["string", "number", "integer", "boolean", "null", "object", "error", "any"]

_KINDS: dict[Any, Kind] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_DOCUMENTED = re.compile(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Field(NamedTuple):
    """A declared attribute.

    Attributes:
        name: of the attribute.
        kinds: what its JSON may be; 'error' is an object with the type and the words of an error.
        words: the closed set of strings that it may be, or none.
        is_required: whether each event of the class has it.
        meaning: what it is, for people.
    """

    name: str
    kinds: frozenset[Kind]
    words: tuple[str, ...]
    is_required: bool
    meaning: str


def declared_names(cls: type) -> Iterator[tuple[str, type]]:
    """The names of the declared attributes, and the classes that declare them, those of the base first."""
    for base in reversed(cls.__mro__[:-1]):
        for name, hint in inspect.get_annotations(base).items():
            is_attribute = not (name.startswith("_") or "ClassVar" in str(hint))
            if is_attribute and name != "source":
                yield name, base


def fields_of(cls: type[BaseEvent]) -> Mapping[str, Field]:
    """The declared attributes of a class of Encore's own, by their names."""
    hints = typing.get_type_hints(cls)
    meanings = {name: meaning for base in reversed(cls.__mro__[:-1]) for name, meaning in _meanings(base)}
    names = dict.fromkeys(name for name, _ in declared_names(cls))
    return {name: _field(cls, name, hints[name], meanings.get(name, "")) for name in names}


def summary_of(cls: type) -> str:
    """The first sentence of its docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _field(cls: type, name: str, hint: Any, meaning: str) -> Field:
    kinds, words = set[Kind](), list[str]()
    for one in _alternatives(hint):
        if get_origin(one) is Literal:
            kinds.add("string")
            words.extend(get_args(one))
        else:
            kinds.add(_kind(one))
    return Field(name, frozenset(kinds), tuple(words), not hasattr(cls, name), meaning)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _kind(hint: Any) -> Kind:
    if hint in _KINDS:
        return _KINDS[hint]
    if hint is Any:
        return "any"
    if get_origin(hint) is not None:
        return "object"
    return "error" if issubclass(hint, BaseException) else "string"  # events and listeners are told by their names


def _meanings(cls: type) -> Iterator[tuple[str, str]]:
    """What the section 'Attributes:' of a docstring says, each in one line."""
    attributes = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")[2]
    for name, meaning in _DOCUMENTED.findall(attributes):
        yield name, " ".join(meaning.split())
