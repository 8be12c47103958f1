"""The server of S3 for programs that are run."""

from __future__ import annotations

from tests.clients.botocore_servers import moto_url

__all__ = ["moto_url"]
