"""A swapped object is the same object: it prints, pickles, copies and compares as one of its plain class."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from encore_events import EventManager
from encore_storage.clients.client import Options, SharedOptions
from encore_storage.clients.swapping import OWN, Swapper, options_of, plain_class


class Shelf:
    """A client with state of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other).__name__ == "Shelf" and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def get(self, key: str) -> str:
        return f"{self.name}/{key}"


class Rebuilt(Shelf):
    """A client that unpickles through a function."""

    def __reduce__(self) -> Any:
        return rebuild, (type(self), self.name)


class Slotted:
    """A client without a dict."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self, key: str) -> str:
        return f"{self.name}/{key}"


def rebuild(cls: type[Shelf], name: str) -> Shelf:
    return cls(name)


def wrap(cls: type, options: Options) -> Mapping[str, Callable[..., Any]]:
    def get(self: Any, key: str) -> str:
        return f"observed {plain_get(self, key)}"

    plain_get = cls.get  # type: ignore[attr-defined]  # of the classes above
    return {"get": get}


@pytest.fixture
def options(manager: EventManager) -> Options:
    return Options("shelf", manager)


@pytest.fixture
def swapper() -> Swapper:
    return Swapper(wrap)


@pytest.mark.parametrize("cls", [Shelf, Rebuilt, Slotted])
def test_swapped_object_is_observed_and_otherwise_unchanged(cls: type, swapper: Swapper, options: Options) -> None:
    target = cls("a")
    swapper.swap(target, options)

    assert target.get("b") == "observed a/b"
    assert isinstance(target, cls)
    assert type(target).__name__ == cls.__name__
    assert repr(target).startswith(f"<{cls.__module__}.{cls.__name__} object at")
    assert (plain_class(target), options_of(target)) == (cls, options)


@pytest.mark.parametrize("cls", [Shelf, Rebuilt])
def test_equality_is_symmetric(cls: type, swapper: Swapper, options: Options) -> None:
    target, plain = Shelf("a"), Shelf("a")
    swapper.swap(target, options)

    assert target == plain
    assert plain == target
    assert hash(target) == hash(plain)


@pytest.mark.parametrize("cls", [Shelf, Rebuilt, Slotted])
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickle_has_the_plain_class(cls: type, protocol: int, swapper: Swapper, options: Options) -> None:
    target = cls("a")
    plain = pickle.dumps(target, protocol)
    swapper.swap(target, options)

    assert pickle.dumps(target, protocol) == plain
    assert type(pickle.loads(plain)) is cls
    assert type(copy.copy(target)) is type(copy.deepcopy(target)) is cls


def test_restored_object_has_no_trace(swapper: Swapper, options: Options) -> None:
    target = Shelf("a")
    swapper.swap(target, options)
    swapper.restore(target)
    swapper.restore(target)

    assert type(target) is Shelf
    assert vars(target) == {"name": "a"}
    assert options_of(target) is None


def test_second_swap_replaces_the_options(swapper: Swapper, options: Options, manager: EventManager) -> None:
    target, other = Shelf("a"), Options("other", manager)
    swapper.swap(target, options)
    swapper.swap(target, other)

    assert options_of(target) is other
    assert plain_class(target) is Shelf
    assert target.get("b") == "observed a/b"


def test_objects_observed_alike_share_a_class(swapper: Swapper, options: Options) -> None:
    first, second = Shelf("a"), Shelf("b")
    swapper.swap(first, options)
    swapper.swap(second, options)

    assert type(first) is type(second)


def test_object_of_a_class_made_in_c_is_refused(options: Options) -> None:
    with pytest.raises(TypeError):
        Swapper(lambda cls, options: {}).swap({}, options)


def test_swapper_keeps_neither_the_object_nor_the_options(swapper: Swapper, manager: EventManager) -> None:
    options = Options("shelf", manager)
    target = Shelf("a")
    swapper.swap(target, options)
    references = weakref.ref(target), weakref.ref(options)
    del target, options
    gc.collect()

    assert [reference() for reference in references] == [None, None]


def test_options_are_shared_by_equal_arguments(manager: EventManager) -> None:
    shared = SharedOptions()
    options = shared.of("a", manager, error_text=False)

    assert shared.of("a", manager, error_text=False) is options
    assert shared.of("a", manager, error_text=True) is not options
    assert options.observer("x", "s3") is options.observer("y", "s3")
    assert options.observer("x", "s3").name == "a"


def test_class_of_a_swapped_object_makes_plain_objects(swapper: Swapper, options: Options) -> None:
    target = Shelf("a")
    swapper.swap(target, options)
    observed = type(target)

    assert type(observed("b")) is Shelf
    assert isinstance(observed("b"), observed)
    assert not isinstance(Slotted("b"), observed)


def test_attributes_of_clients_are_not_pickled(swapper: Swapper, options: Options) -> None:
    target = Shelf("a")
    swapper.swap(target, options)
    vars(target)[f"{OWN}operation"] = 1

    assert vars(pickle.loads(pickle.dumps(target))) == vars(copy.copy(target)) == {"name": "a"}


def test_swapped_objects_leave_abstract_base_classes_alone(options: Options) -> None:
    class File(io.BytesIO):
        pass

    file = File()
    Swapper(lambda cls, options: {}).swap(file, options)

    assert isinstance(file, io.IOBase)
    assert not isinstance(b"", io.IOBase)
    assert not isinstance(Shelf("a"), type(file))
