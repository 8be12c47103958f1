"""Copies the files of a directory to an S3 bucket, those that are not there yet or have changed.

The bucket exists already. The standard variables choose the account and the server:

    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_ENDPOINT_URL=http://127.0.0.1:9000
    pip install boto3
    encore run examples/backup.py photos my-bucket

Run it again: the files that the bucket has are no misses now, and are not sent.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError


def digest_in(s3: Any, bucket: str, key: str) -> str | None:
    """Return the digest that was stored with a key, or None if there is no such key."""
    try:
        found = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        return None
    digest: str | None = found["Metadata"].get("sha256")
    return digest


def main(directory: str, bucket: str) -> None:
    """Copy what has changed, and print what the bucket holds then."""
    s3 = boto3.client("s3")
    folder = Path(directory)
    sent = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        key = path.relative_to(folder).as_posix()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest_in(s3, bucket, key) != digest:
            s3.upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
            sent += 1
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    sizes = [each["Size"] for page in pages for each in page.get("Contents", [])]
    print(f"sent {sent} files; the bucket has {len(sizes)} with {sum(sizes):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: backup.py DIRECTORY BUCKET")
    main(*sys.argv[1:])
