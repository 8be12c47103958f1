"""Class swap: an object whose class is exchanged for a generated subclass, whose methods are observed.

It stays the same object, so `isinstance`, identity and references keep working. It prints, pickles and copies as an
object of its plain class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from encore_storage.clients.client import Options

Wrap = Callable[[type, Options], Mapping[str, Any]]
"""Returns the observed methods of a class, by their names."""

OWN = "_encore_"
"""The prefix of the attributes that clients add to observed objects; no pickle or copy has them."""

_PLAIN = f"{OWN}plain_class"
_OPTIONS = f"{OWN}options"


class Swapper:
    """Exchanges the classes of objects; one for each client.

    Args:
        wrap: returns the observed methods for a plain class.
        shared: whether objects of one class share an observed class; False for a library that makes a class for each
            object, so that its classes can be collected.
    """

    def __init__(self, wrap: Wrap, *, shared: bool = True) -> None:
        self._wrap = wrap
        self._shared = shared

    def swap(self, target: Any, options: Options) -> None:
        """Observe the target with the options, in place of those that it had.

        Raises:
            TypeError: the class of the target is made in C, and cannot be exchanged.
        """
        set_class(target, self.observed_class(plain_class(target), options))

    def restore(self, target: Any) -> None:
        """Give the target its plain class again."""
        plain = plain_class(target)
        if type(target) is not plain:
            set_class(target, plain)

    def observed_class(self, cls: type, options: Options) -> type:
        """Return the observed subclass of a plain class; if classes are shared, the same for the same options."""
        if not self._shared:
            return self._make(cls, options)
        known = options.classes.get((self, cls))
        return known or options.classes.setdefault((self, cls), self._make(cls, options))

    def _make(self, cls: type, options: Options) -> type:
        def reduce_ex(target: Any, protocol: Any) -> Any:
            reduce: Any = cls.__reduce_ex__
            return _without_trace(reduce(target, protocol), made, cls)

        def reduce(target: Any) -> Any:
            return _without_trace(plain.__reduce__(target), made, cls)

        plain: Any = cls
        names: dict[str, Any] = dict(self._wrap(cls, options))
        names |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        names |= {_PLAIN: cls, _OPTIONS: options, "__reduce_ex__": reduce_ex, "__slots__": ()}
        if plain.__reduce__ is not object.__reduce__:
            names["__reduce__"] = reduce
        names["__class__"] = property(lambda _: cls)  # pickle and the object itself see the plain class
        made = _metaclass_of(type(cls))(cls.__name__, (cls,), names)
        return made


@functools.cache
def _metaclass_of(metaclass: Any) -> Callable[..., type]:
    """Return the class of observed classes: they make plain objects, and these are instances of them.

    It has no `__subclasscheck__`: an ABC asks all of its subclasses, and they would ask the ABC.
    """

    class Observed(metaclass):  # type: ignore[misc]  # its base is only known at run time
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            plain = self.__dict__.get(_PLAIN)
            return super().__call__(*arguments, **options) if plain is None else plain(*arguments, **options)

        def __instancecheck__(self, instance: object) -> bool:
            return isinstance(instance, self.__dict__.get(_PLAIN, ())) or super().__instancecheck__(instance)

    Observed.__name__, Observed.__qualname__ = metaclass.__name__, metaclass.__qualname__
    return Observed


set_class: Callable[[object, type], None] = object.__dict__["__class__"].__set__
"""Exchanges the class of an object, also of one whose `__class__` names its plain class."""


def plain_class(target: object) -> type:
    """Return the class of an object as it would be without `observe()`."""
    cls = type(target)
    plain: type = cls.__dict__.get(_PLAIN, cls)
    return plain


def options_of(target: object) -> Options | None:
    """Return the options with which an object is observed by class swap; None if it is not."""
    options: Options | None = type(target).__dict__.get(_OPTIONS)
    return options


def _without_trace(reduced: Any, observed: type, plain: type) -> Any:
    """Return what `__reduce_ex__` of the plain object would: its class, and its state without our attributes."""
    if not isinstance(reduced, tuple):
        return reduced
    call, arguments, *rest = reduced
    replaced = tuple(plain if argument is observed else argument for argument in arguments)
    if rest:
        state = rest[0]
        rest[0] = tuple(map(_plain_state, state)) if type(state) is tuple else _plain_state(state)
    return (plain if call is observed else call, replaced, *rest)


def _plain_state(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    return {name: value for name, value in state.items() if not str(name).startswith(OWN)}
