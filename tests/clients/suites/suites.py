"""The suites that run in the tests, and in the campaign."""

from __future__ import annotations

from tests.clients.suites.support import Suite

_AWS = (("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"))

SQLALCHEMY = Suite("sqlalchemy", ("sqlalchemy",), ("test",), ("--maxfail=0",))
BOTOCORE = Suite("botocore", ("botocore",), ("tests/unit", "tests/functional"), environment=_AWS)
S3TRANSFER = Suite("s3transfer", ("boto3", "botocore"), ("tests/unit", "tests/functional"), environment=_AWS)
AIOBOTOCORE = Suite("aiobotocore", ("aiobotocore", "botocore"), ("tests",), environment=_AWS)
S3FS = Suite("s3fs", ("fsspec", "aiobotocore"), ("s3fs/tests",), environment=_AWS)
