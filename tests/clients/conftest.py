"""Fixtures of the tests of clients: real servers."""

from tests.clients.botocore_servers import bucket, clients, moto_url, plain_s3, proxy, seaweedfs_url, shared_bucket

__all__ = ["bucket", "clients", "moto_url", "plain_s3", "proxy", "seaweedfs_url", "shared_bucket"]
