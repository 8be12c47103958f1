"""The cases of the contract of clients: how to use each client, and the points that cannot apply to it."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe, unobserve
from encore_storage.events import StoreProgressEndEvent, StoreProgressEvent, StoreProgressStartEvent

POINTS = (
    *("get", "set", "delete and list", "miss", "error"),
    *("reset in mid-body", "early close", "cancelled", "collected unclosed", "server killed"),
    *("unchanged", "observed twice", "no trace", "failing subscriber", "nothing kept alive"),
    *("retries", "transactions", "transactions of the server", "threads or tasks", "forked child"),
)
"""The points of the contract; each is tested by the function that `point` marks with it."""

DATA = bytes(range(256)) * 300 + b"\nthe last line"
"""More than the buffers of an HTTP client hold."""

BIG = 4 * 2**20
"""The size of the value in whose upload a server is killed."""

Operations = Mapping[str, str]


class Case(ABC):
    """One client in the contract. All methods that use the client may return awaitables, which `call` awaits.

    Attributes:
        name: its name in the ids of tests and in the table.
        inapplicable: the reasons for which points cannot apply.
        operations: the names of its operations for `get`, `put`, `delete` and `list`.
        has_bytes: True if its operations count bytes.
        is_async: True if it is used with `await`.
        raises_miss: True if it raises an error for a key that is missing.
        error_type: the type of the error of `fail`.
        is_read_only: True if only a client of `make_writer` can write.
    """

    name: ClassVar[str]
    inapplicable: ClassVar[Mapping[str, str]] = {}
    operations: ClassVar[Operations] = {"get": "get", "put": "set", "delete": "delete", "list": "list"}
    has_bytes: ClassVar[bool] = True
    is_async: ClassVar[bool] = False
    raises_miss: ClassVar[bool] = True
    error_type: ClassVar[str]
    is_read_only: ClassVar[bool] = False

    def __init__(self, request: pytest.FixtureRequest, manager: EventManager) -> None:
        self._request = request
        self._closing = ExitStack()
        self.manager = manager

    @property
    @abstractmethod
    def store(self) -> str:
        """The name of the store."""

    @property
    def transaction_store(self) -> str:
        """The name of the store in events of transactions."""
        return self.store

    @abstractmethod
    def make(self) -> Any:
        """Return a plain client, which `close` closes."""

    @abstractmethod
    def put(self, client: Any, key: str, data: bytes) -> Any:
        """Store a value."""

    @abstractmethod
    def get(self, client: Any, key: str) -> Any:
        """Return a value; fail or return None if there is none."""

    def delete(self, client: Any, key: str) -> Any:
        """Delete a value."""
        raise NotImplementedError

    def keys(self, client: Any) -> Any:
        """List the keys."""
        raise NotImplementedError

    def fail(self, client: Any) -> Any:
        """Make a call that the server refuses, of a client made by `make_refused`."""
        raise NotImplementedError

    def begin(self, client: Any, key: str) -> Any:
        """Return a stream of the value of which two bytes have been read."""
        raise NotImplementedError

    @abstractmethod
    def stored(self, key: str) -> bytes | None:
        """Return the value by other means than the client's library, or None."""

    def put_outside(self, key: str, data: bytes) -> None:
        """Store a value with a plain client."""
        self.call(self.put, self.make(), key, data)

    def make_writer(self) -> Any:
        """Return a plain client for writing."""
        return self.make()

    def make_refused(self) -> Any:
        """Return a plain client for `fail`."""
        return self.make()

    def make_for_load(self) -> Any:
        """Return a plain client that talks to the server directly."""
        return self.make()

    def flush(self, client: Any) -> None:  # noqa: B027 (most clients have written)
        """Finish what a client for writing has written."""

    def sent(self) -> int | None:
        """Return the number of bytes of values that the server has sent; None if nobody counts them."""
        return None

    def accepted(self) -> int | None:
        """Return the number of bytes of values that the server has accepted; None if nobody counts them."""
        return None

    def key(self, key: str) -> str | None:
        """Return the key in events."""
        return key

    def parts(self, client: Any) -> Iterator[Any]:
        """Yield the objects of which observing could leave a trace."""
        yield client

    def in_child(self, client: Any) -> Any:
        """Return the client to use in a forked child."""
        return client

    def commit(self, client: Any, key: str, error: BaseException | None = None) -> Any:
        """Store a value in a transaction, and raise the error in it."""
        raise NotImplementedError

    def read_in_transaction(self, client: Any) -> Any:
        """Only read in a transaction."""
        raise NotImplementedError

    def broken(self) -> AbstractContextManager[None]:
        """Return a block in which the connection breaks while a value is received."""
        raise NotImplementedError

    def throttled(self) -> AbstractContextManager[None]:
        """Return a block in which the server is too busy for the first two requests."""
        raise NotImplementedError

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        """Return a call that blocks, and a function that returns True once it does."""
        raise NotImplementedError

    def killed(self) -> tuple[Any, Callable[[Any], Any]]:
        """Return a plain client of a server of its own, and a call that writes while the server is killed."""
        raise NotImplementedError

    def close_stream(self, stream: Any) -> Any:
        """Close what `begin` has returned."""
        return stream.close()

    def close(self) -> None:
        """Close everything."""
        self._closing.close()

    def fixture(self, name: str) -> Any:
        """Return the value of a fixture."""
        return self._request.getfixturevalue(name)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, and await its result if the client is async."""
        return function(*args)

    def observed(self, client: Any = None) -> Any:
        """Return a client, observed until the end of the test."""
        client = observe(self.make() if client is None else client, event_manager=self.manager)
        self._closing.callback(unobserve, client)
        return client

    def all_ends(self, recorder: EventRecorder) -> list[StoreProgressEndEvent]:
        """Return the ends of all operations; each has one start, and deltas that sum to its bytes."""
        moved = Counter[str | None]()
        for event in recorder.of(StoreProgressEvent):
            moved[event.operation_id] += getattr(event, "delta", 0)
        ends = recorder.of(StoreProgressEndEvent)
        starts = Counter(event.operation_id for event in recorder.of(StoreProgressStartEvent))
        assert set(starts.values()) <= {1}
        assert starts == Counter(end.operation_id for end in ends)
        assert [end.bytes for end in ends] == [moved[end.operation_id] for end in ends]
        return ends

    def ends(self, recorder: EventRecorder) -> list[StoreProgressEndEvent]:
        """Return the ends of the operations of its store."""
        ends = self.all_ends(recorder)
        return [end for end in ends if end.store == self.store and end.message != "CONNECT"]

    def end(self, recorder: EventRecorder) -> StoreProgressEndEvent:
        """Return the only end of its store."""
        (end,) = self.ends(recorder)
        return end


class AsyncCase(Case):
    """A client that is used with `await`, in an event loop of its own."""

    is_async = True

    def __init__(self, request: pytest.FixtureRequest, manager: EventManager) -> None:
        super().__init__(request, manager)
        self.runner = asyncio.Runner()
        self._closing.callback(self.runner.close)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        async def call() -> Any:
            result = function(*args)
            return await result if inspect.isawaitable(result) else result

        return self.runner.run(call())

    def in_child(self, client: Any) -> Any:
        self.runner = asyncio.Runner()  # the threads of the parent's are not the child's
        return super().in_child(client)
