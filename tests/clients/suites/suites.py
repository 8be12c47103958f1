"""The suites of the client libraries. The source distribution of boto3 has none; fsspec's is run by itself."""

from __future__ import annotations

from tests.clients.suites.support import CHILD, Suite

_AWS = (("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"))
_WITHOUT_SETTINGS = ("-c", f"{CHILD}/pytest.ini", "--rootdir=.")  # else pytest finds those of this project

SQLALCHEMY = Suite("sqlalchemy", ("sqlalchemy",), (), ("--maxfail=0",))
BOTOCORE = Suite("botocore", ("botocore",), ())
S3TRANSFER = Suite("s3transfer", ("boto3", "botocore"), ("tests/unit", "tests/functional"), environment=_AWS)
AIOBOTOCORE = Suite("aiobotocore", ("aiobotocore", "botocore"), (), ("-p", "anyio.pytest_plugin"))
S3FS = Suite("s3fs", ("fsspec", "aiobotocore"), ("s3fs/tests",), _WITHOUT_SETTINGS, environment=_AWS)
