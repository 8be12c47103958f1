"""The libraries that Encore observes by itself. Other packages may add more."""

LIBRARIES = ("aiobotocore", "boto3", "botocore", "fsspec", "sqlalchemy")
