"""The cases of boto3 and aiobotocore."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe
from tests.clients.botocore_servers import KEY, AsyncClients, Proxy, SyncClients, fast_retries
from tests.clients.contract.cases import BIG, DATA, AsyncCase, Case, Operations
from tests.clients.contract.servers import killable_s3, stored_object

NO_TRANSACTIONS = "S3 has no transactions"


class Boto3Client(Case):
    """A client of S3, over SeaweedFS behind a proxy."""

    name = "boto3 client"
    error_type = "permission_denied"
    inapplicable: ClassVar[Mapping[str, str]] = {
        "transactions": NO_TRANSACTIONS,
        "transactions of the server": NO_TRANSACTIONS,
    }
    clients: SyncClients | AsyncClients = SyncClients()

    @property
    def proxy(self) -> Proxy:
        """The proxy."""
        proxy: Proxy = self.fixture("proxy")
        return proxy

    @property
    def bucket(self) -> str:
        """The bucket."""
        bucket: str = self.fixture("bucket")
        return bucket

    @property
    def store(self) -> str:
        return f"s3:{self.bucket}"

    def key(self, key: str) -> str | None:
        return f"{self.bucket}/{key}"

    def make(self) -> Any:
        return self.make_for(self.proxy.url)

    def make_for(self, url: str, key: str = KEY) -> Any:
        """Return a client for a server and a user."""
        return self.clients.make("s3", url, key, max_pool_connections=8)

    def make_refused(self) -> Any:
        return self.make_for(self.proxy.url, "nokey")

    def make_for_load(self) -> Any:
        return self.make_for(self.fixture("seaweedfs_url"))

    def put(self, client: Any, key: str, data: bytes) -> Any:
        return client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, client: Any, key: str) -> Any:
        return client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def delete(self, client: Any, key: str) -> Any:
        return client.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, client: Any) -> Any:
        return client.list_objects_v2(Bucket=self.bucket)

    def fail(self, client: Any) -> Any:
        return self.get(client, "a")

    def begin(self, client: Any, key: str) -> Any:
        body = client.get_object(Bucket=self.bucket, Key=key)["Body"]
        assert body.read(2) == DATA[:2]
        return body

    def put_outside(self, key: str, data: bytes) -> None:
        self.fixture("plain_s3").put_object(Bucket=self.bucket, Key=key, Body=data)

    def stored(self, key: str) -> bytes | None:
        return stored_object(self.fixture("plain_s3"), self.bucket, key)

    def sent(self) -> int | None:
        return self.proxy.sent

    def accepted(self) -> int | None:
        return self.proxy.received

    def parts(self, client: Any) -> Iterator[Any]:
        yield from (client, client.meta, client.meta.events, client.meta.events._emitter, client._endpoint)

    @contextmanager
    def broken(self) -> Iterator[None]:
        self.proxy.cuts = [50_000]
        yield

    @contextmanager
    def throttled(self) -> Iterator[None]:
        fast_retries(self.fixture("monkeypatch"))
        self.proxy.slow_downs = 2
        yield

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        self.proxy.stall = "body"
        return lambda: self.get(client, "a"), self.proxy.stalled.is_set

    def killed(self) -> tuple[Any, Callable[[Any], Any]]:
        fast_retries(self.fixture("monkeypatch"))
        url = self._closing.enter_context(killable_s3(self.fixture("tmp_path")))
        return self.make_for(url), self.put_big

    def put_big(self, client: Any) -> Any:
        """Write to the bucket of the server that is killed."""
        return client.put_object(Bucket="bucket", Key="big", Body=bytes(BIG))


class Boto3Resource(Boto3Client):
    """A resource of S3."""

    name = "boto3 resource"

    def make_for(self, url: str, key: str = KEY) -> Any:
        return SyncClients().resource("s3", url, key)

    def put(self, client: Any, key: str, data: bytes) -> Any:
        return client.Object(self.bucket, key).put(Body=data)

    def get(self, client: Any, key: str) -> Any:
        return client.Object(self.bucket, key).get()["Body"].read()

    def delete(self, client: Any, key: str) -> Any:
        return client.Object(self.bucket, key).delete()

    def keys(self, client: Any) -> Any:
        return [one.key for one in client.Bucket(self.bucket).objects.all()]

    def begin(self, client: Any, key: str) -> Any:
        body = client.Object(self.bucket, key).get()["Body"]
        assert body.read(2) == DATA[:2]
        return body

    def parts(self, client: Any) -> Iterator[Any]:
        yield from (client, client.meta, *super().parts(client.meta.client))

    def put_big(self, client: Any) -> Any:
        return client.Object("bucket", "big").put(Body=bytes(BIG))


class Aiobotocore(AsyncCase, Boto3Client):
    """A client of aiobotocore."""

    name = "aiobotocore"

    def __init__(self, request: pytest.FixtureRequest, manager: EventManager) -> None:
        super().__init__(request, manager)
        self.renew()

    def renew(self) -> None:
        """Make clients in a new event loop."""
        self.clients = AsyncClients()
        self.runner = self.clients.runner
        self._closing.callback(self._close, self.clients, os.getpid())

    @staticmethod
    def _close(clients: AsyncClients, process: int) -> None:
        if process == os.getpid():
            clients.close()

    def in_child(self, client: Any) -> Any:
        self.renew()
        return observe(self.make(), event_manager=self.manager)

    async def get(self, client: Any, key: str) -> Any:
        response = await client.get_object(Bucket=self.bucket, Key=key)
        async with response["Body"] as body:
            return await body.read()

    async def begin(self, client: Any, key: str) -> Any:
        body = (await client.get_object(Bucket=self.bucket, Key=key))["Body"]
        assert await body.read(2) == DATA[:2]
        return body


class DynamoDB(Case):
    """A client of DynamoDB, over moto behind a proxy."""

    name = "boto3 DynamoDB"
    error_type = "conflict"
    operations: ClassVar[Operations] = {"get": "get", "put": "set", "delete": "delete", "list": "query"}
    has_bytes = False
    raises_miss = False
    inapplicable: ClassVar[Mapping[str, str]] = {
        "reset in mid-body": "items have no body",
        "early close": "items have no body",
        "collected unclosed": "items have no body",
        "server killed": "moto keeps everything in memory; the clients of S3 send their requests alike",
        "transactions of the server": "moto counts none",
    }

    def __init__(self, request: pytest.FixtureRequest, manager: EventManager) -> None:
        super().__init__(request, manager)
        self.proxy = self._closing.enter_context(Proxy(self.fixture("moto_url")))
        self.table = f"table-{uuid.uuid4().hex[:8]}"
        self.plain = SyncClients().make("dynamodb", self.fixture("moto_url"))
        self.plain.create_table(
            TableName=self.table,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )

    @property
    def store(self) -> str:
        return f"dynamodb:{self.table}"

    def key(self, key: str) -> str | None:
        return None

    def make(self) -> Any:
        return SyncClients().make("dynamodb", self.proxy.url, max_pool_connections=8)

    def make_for_load(self) -> Any:
        return SyncClients().make("dynamodb", self.fixture("moto_url"), max_pool_connections=8)

    def _item(self, key: str, data: bytes) -> dict[str, Any]:
        return {"TableName": self.table, "Item": {"id": {"S": key}, "value": {"B": data}}}

    def put(self, client: Any, key: str, data: bytes) -> Any:
        return client.put_item(**self._item(key, data))

    def get(self, client: Any, key: str) -> Any:
        return client.get_item(TableName=self.table, Key={"id": {"S": key}}).get("Item", {}).get("value", {}).get("B")

    def delete(self, client: Any, key: str) -> Any:
        return client.delete_item(TableName=self.table, Key={"id": {"S": key}})

    def keys(self, client: Any) -> Any:
        return client.scan(TableName=self.table)["Items"]

    def fail(self, client: Any) -> Any:
        return client.put_item(**self._item("a", b""), ConditionExpression="attribute_not_exists(id)")

    def put_outside(self, key: str, data: bytes) -> None:
        self.put(self.plain, key, data)

    def stored(self, key: str) -> bytes | None:
        data: bytes | None = self.get(self.plain, key)
        return data

    @contextmanager
    def throttled(self) -> Iterator[None]:
        fast_retries(self.fixture("monkeypatch"))
        self.proxy.slow_downs = 2
        yield

    def blocked(self, client: Any, recorder: EventRecorder) -> tuple[Callable[[], Any], Callable[[], object]]:
        self.proxy.stall = "headers"
        return lambda: self.get(client, "a"), self.proxy.stalled.is_set

    def commit(self, client: Any, key: str, error: BaseException | None = None) -> Any:
        item = self._item(key, DATA)
        if error is not None:
            item["ConditionExpression"] = "attribute_exists(id)"  # it is false
        return client.transact_write_items(TransactItems=[{"Put": item}])


OBJECTS: list[type[Case]] = [Boto3Client, Boto3Resource, Aiobotocore, DynamoDB]
