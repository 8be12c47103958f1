"""The storage utilities at the address that their specification gives."""

from encore_storage.progress import StoreProgressManager
from encore_storage.streams import BufferIteratorIO, buffer_iterator, tee
from encore_storage.transactions import DummyTransactionContext, SimpleTransactionContext

__all__ = [
    "BufferIteratorIO",
    "DummyTransactionContext",
    "SimpleTransactionContext",
    "StoreProgressManager",
    "buffer_iterator",
    "tee",
]
