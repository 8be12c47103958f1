"""The base of the contract: the stores and the fixtures that its tests share."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from inspect import isfunction
from pathlib import Path
from typing import Any, Protocol

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.pools import DaemonPool
from encore_storage.testing.time_limits import time_limit
from encore_storage.utils import StoreProgressManager

try:
    import pytest
except ImportError as error:
    raise ImportError("encore_storage.testing cannot be imported without pytest: pip install pytest") from error

PARTS = (
    "calls",
    "changes",
    "concurrency",
    "connection",
    "keys",
    "kit",
    "many",
    "metadata",
    "outcomes",
    "readers",
    "streams",
    "threads",
    "transactions",
    "values",
)
# A failed assertion shows its values only if pytest rewrites its module, which must not have been imported before.
pytest.register_assert_rewrite(*(f"encore_storage.testing.{part}" for part in PARTS))


class NewStore(Protocol):
    """A function that makes stores of the kind under test, with the event manager of the test."""

    def __call__(self, name: str = "archive", *, timeout: float | None = None) -> AbstractStore:
        """Return a new, empty store; it is disconnected after the test."""


class ContractBase(ABC):
    """The stores and fixtures that all parts of the contract share.

    Attributes:
        directory: an empty directory for the stores of one test.
        patience: seconds that a test waits for another thread before it fails. A whole test fails after ten times that.
    """

    directory: Path
    patience: float = 30.0

    def __init_subclass__(cls) -> None:
        """Limit the time of each test that has a docstring, and add that to its failures.

        Raises:
            TypeError: the class is named like a test class and has no `make_store`, so pytest would ignore it.
        """
        super().__init_subclass__()
        if cls.__name__.startswith("Test") and getattr(cls.make_store, "__isabstractmethod__", False):
            raise TypeError(
                f"test class {cls.__name__!r} has no make_store(): define it, "
                "or give a base class of tests a name that doesn't begin with Test"
            )
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and isfunction(test) and test.__doc__:
                setattr(cls, name, _showing_its_rule(test))

    @abstractmethod
    def make_store(self, *, name: str, event_manager: EventManager, timeout: float | None) -> AbstractStore:
        """Return a new, empty store; called with these keywords, which `AbstractStore` takes.

        A test may make several stores, of different names. Use `self.directory` for files.
        """

    @pytest.fixture(autouse=True)
    def _make_directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "stores"
        self.directory.mkdir()

    @pytest.fixture
    def manager(self) -> Iterator[EventManager]:
        """Return the event manager of the test."""
        manager = EventManager()
        yield manager
        manager.close()

    @pytest.fixture
    def recorder(self, manager: EventManager) -> EventRecorder:
        """Record all events of the test."""
        return EventRecorder(manager)

    @pytest.fixture
    def new_store(self, manager: EventManager) -> Iterator[NewStore]:
        """Return a function that makes stores."""
        with ExitStack() as made:

            def new_store(name: str = "archive", *, timeout: float | None = None) -> AbstractStore:
                limit = self.patience if timeout is None else timeout  # a broken store must not make a test hang
                store = self.make_store(name=name, event_manager=manager, timeout=limit)
                made.callback(store.disconnect)
                return store

            yield new_store
            with time_limit(10 * self.patience):
                made.close()

    @pytest.fixture
    def store(self, new_store: NewStore) -> AbstractStore:
        """Return a store named `archive`."""
        return new_store()

    @pytest.fixture
    def pool(self) -> Iterator[Executor]:
        """Return a pool of threads."""
        pool = DaemonPool()
        yield pool
        pool.join(self.patience)

    @pytest.fixture
    def every_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Emit a step for each chunk, however little time has passed since the one before."""
        monkeypatch.setattr(StoreProgressManager, "min_interval", 0)


def _showing_its_rule(test: Callable[..., None]) -> Callable[..., None]:
    rule = " ".join((test.__doc__ or "").split())

    @functools.wraps(test)
    def tested(self: ContractBase, *arguments: Any, **fixtures: Any) -> None:
        __tracebackhide__ = True
        try:
            with time_limit(10 * self.patience):
                test(self, *arguments, **fixtures)
        except pytest.skip.Exception:
            raise
        except BaseException as error:
            error.add_note(f"The rule: {rule}")
            raise

    return tested
