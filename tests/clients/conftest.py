"""Fixtures of the tests of clients: real servers, and files to read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.botocore_servers import bucket, clients, moto_url, plain_s3, proxy, seaweedfs_url, shared_bucket
from tests.clients.servers import FileServer, seaweedfs

__all__ = ["bucket", "clients", "moto_url", "plain_s3", "proxy", "seaweedfs_url", "shared_bucket"]


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Return the URL of a real S3 server."""
    with seaweedfs() as url:
        yield url


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server
