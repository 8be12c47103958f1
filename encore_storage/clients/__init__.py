"""Observing the clients that programs already use: `observe()` and `unobserve()`."""

from encore_storage.clients.client import Client, Options
from encore_storage.clients.errors import ClientError, UnsupportedClientError
from encore_storage.clients.observe import observe, unobserve

__all__ = ["Client", "ClientError", "Options", "UnsupportedClientError", "observe", "unobserve"]
