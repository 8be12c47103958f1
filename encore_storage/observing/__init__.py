"""Operations, transactions and key changes, emitted for any code that moves bytes."""

from encore_storage.observing.observer import StoreObserver
from encore_storage.observing.operation import Operation
from encore_storage.observing.progress import StoreProgressManager
from encore_storage.observing.streams import ObservedIterator, ObservedReader
from encore_storage.observing.transaction import ObservedTransaction

__all__ = [
    "ObservedIterator",
    "ObservedReader",
    "ObservedTransaction",
    "Operation",
    "StoreObserver",
    "StoreProgressManager",
]
