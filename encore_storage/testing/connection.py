"""The contract of connecting, disconnecting and describing a store."""

from __future__ import annotations

from concurrent.futures import Executor

import pytest

from encore_storage.errors import StoreConnectionError
from encore_storage.stores.abstract import AbstractStore
from encore_storage.testing.base import ContractBase, NewStore
from encore_storage.testing.calls import EVERY_CALL, Call
from encore_storage.testing.kit import content, put
from encore_storage.transactions import DummyTransactionContext, SimpleTransactionContext


class ConnectionContract(ContractBase):
    """The rules of connecting, and of describing the store."""

    def test_new_store_is_connected(self, store: AbstractStore) -> None:
        """A store can be used as soon as it is made; `connect` changes nothing then."""
        assert store.is_connected()
        put(store, "a", b"1")
        store.connect()

        assert content(store, "a") == (b"1", {})

    @pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
    def test_disconnected_store_refuses_calls(self, call: Call, store: AbstractStore) -> None:
        """After `disconnect`, which may be called twice, every call raises StoreConnectionError."""
        store.disconnect()
        store.disconnect()

        assert not store.is_connected()
        with pytest.raises(StoreConnectionError, match="'archive' is disconnected"):
            call(store)

    def test_store_can_be_connected_again(self, store: AbstractStore) -> None:
        """`connect` makes a disconnected store usable again."""
        store.disconnect()
        store.connect()
        put(store, "a", b"1")

        assert content(store, "a") == (b"1", {})

    def test_value_of_a_disconnected_store_cannot_be_opened(self, store: AbstractStore) -> None:
        """A value that was looked up cannot be opened once its store is disconnected."""
        put(store, "a", b"1")
        value = store.get("a")
        store.disconnect()

        with pytest.raises(StoreConnectionError):
            _ = value.data

    def test_store_is_a_context_manager(self, new_store: NewStore) -> None:
        """A `with` block connects the store and disconnects it."""
        store = new_store()
        with store as entered:
            assert entered is store
            put(store, "a", b"1")
        assert not store.is_connected()
        with store:
            assert store.is_connected()

    def test_store_can_be_disconnected_by_another_thread(self, store: AbstractStore, pool: Executor) -> None:
        """`disconnect` works in another thread than the calls before it."""
        put(store, "a", b"1")
        pool.submit(store.disconnect).result(self.patience)

        assert not store.is_connected()

    def test_info_and_repr_describe_the_store(self, store: AbstractStore) -> None:
        """`info` has name, backend, transactional and readonly; the repr begins with class and name."""
        info = store.info()

        assert (info["name"], info["backend"], info["readonly"]) == ("archive", store.backend, False)
        assert info["transactional"] is store.transactional
        assert repr(store).startswith(f"<{type(store).__name__} 'archive'")
        assert "connected" in repr(store)

    def test_transaction_is_of_the_kind_that_info_says(self, store: AbstractStore) -> None:
        """`transaction` returns a context that does nothing if `info()["transactional"]` is False."""
        kind = SimpleTransactionContext if store.info()["transactional"] else DummyTransactionContext

        with store.transaction("notes") as transaction:
            assert isinstance(transaction, kind)
        assert transaction.store is store
