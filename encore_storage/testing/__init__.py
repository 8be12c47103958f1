"""Tests for the authors of stores: the contract that every store must pass. Requires pytest."""

from encore_storage.testing.contract import StoreContract

__all__ = ["StoreContract"]
