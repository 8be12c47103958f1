"""The base of the contract: the stores and the fixtures that its tests share."""

from __future__ import annotations

import functools
import signal
import threading
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
        """Add the docstring of each test to its failures.

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

    @pytest.fixture(autouse=True)
    def _limit_time(self) -> Iterator[None]:
        """Fail a test that hangs, unless it has another time limit, such as that of pytest-timeout."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getitimer(signal.ITIMER_REAL)[0]:
            yield
            return
        seconds = 10 * self.patience

        def fail(*_: object) -> None:
            pytest.fail(f"the test did not end within {seconds} s: the store waits for ever")

        previous = signal.signal(signal.SIGALRM, fail)
        signal.setitimer(signal.ITIMER_REAL, seconds, self.patience)  # again, in case a finalizer has swallowed it
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

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
    def tested(*arguments: Any, **fixtures: Any) -> None:
        __tracebackhide__ = True
        try:
            test(*arguments, **fixtures)
        except pytest.skip.Exception:
            raise
        except BaseException as error:
            error.add_note(f"The rule: {rule}")
            raise

    return tested
