"""The contract of stores, assembled from its parts."""

from __future__ import annotations

from encore_storage.testing.base import ContractBase  # the first import: it checks that pytest is installed
from encore_storage.testing.changes import ChangeContract
from encore_storage.testing.concurrency import ConcurrencyContract
from encore_storage.testing.connection import ConnectionContract
from encore_storage.testing.keys import KeyContract
from encore_storage.testing.many import ManyContract
from encore_storage.testing.metadata import MetadataContract
from encore_storage.testing.outcomes import OutcomeContract
from encore_storage.testing.readers import ReaderContract
from encore_storage.testing.streams import StreamContract
from encore_storage.testing.threads import ThreadContract
from encore_storage.testing.transactions import TransactionContract
from encore_storage.testing.values import ValueContract


class StoreContract(
    ValueContract,
    ReaderContract,
    MetadataContract,
    KeyContract,
    ManyContract,
    OutcomeContract,
    StreamContract,
    ChangeContract,
    ConnectionContract,
    ThreadContract,
    ConcurrencyContract,
    TransactionContract,
    ContractBase,
):
    """The tests that every store must pass; derive a class named `Test...` from it.

    ```python
    from encore_storage.testing import StoreContract


    class TestMyStore(StoreContract):
        def make_store(self, **arguments):
            return MyStore(**arguments)
    ```

    The docstring of each test is the rule that it checks; a failure shows it. The tests of transactions are skipped
    where `info()["transactional"]` is False.

    Attributes:
        directory: an empty directory for the stores of one test.
        patience: seconds that a test waits for another thread before it fails. A whole test fails after ten times that.
    """
