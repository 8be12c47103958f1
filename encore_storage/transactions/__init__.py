"""Transactions: the turn of threads to write, and changes that are kept as a whole or not at all."""

from encore_storage.transactions.contexts import (
    DummyTransactionContext,
    SimpleTransactionContext,
    TransactionEntry,
    TransactionState,
)

__all__ = ["DummyTransactionContext", "SimpleTransactionContext", "TransactionEntry", "TransactionState"]
