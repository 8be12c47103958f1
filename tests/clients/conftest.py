"""Fixtures of the tests of clients: real servers, and files to read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.botocore_servers import bucket, clients, moto_url, plain_s3, proxy, seaweedfs_url, shared_bucket
from tests.clients.postgresql import PostgreSQL
from tests.clients.servers import FileServer

__all__ = ["bucket", "clients", "moto_url", "plain_s3", "proxy", "seaweedfs_url", "shared_bucket"]


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server
