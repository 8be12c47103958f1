"""The storage utilities, at the import path of their specification."""

from encore_storage.observing.progress import StoreProgressManager
from encore_storage.streams import BufferIteratorIO, buffer_iterator, tee
from encore_storage.transactions.contexts import DummyTransactionContext, SimpleTransactionContext

__all__ = [
    "BufferIteratorIO",
    "DummyTransactionContext",
    "SimpleTransactionContext",
    "StoreProgressManager",
    "buffer_iterator",
    "tee",
]
