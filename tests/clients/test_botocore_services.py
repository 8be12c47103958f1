"""Observed clients of other services than S3, and faults, against moto: DynamoDB, SelectObjectContent, SQS."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from encore_events import EventManager
from encore_events.testing import EventRecorder
from encore_storage import observe
from encore_storage.events import (
    StoreModificationEvent,
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)
from tests.clients.botocore_servers import AsyncClients, SyncClients

Clients = SyncClients | AsyncClients
SECRET = {"id": {"S": "one"}, "note": {"S": "a secret value"}}


@pytest.fixture
def table(moto_url: str) -> str:
    """Return the name of a new table."""
    name = f"table-{uuid.uuid4().hex[:8]}"
    SyncClients().make("dynamodb", moto_url).create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


@pytest.fixture
def client(clients: Clients, moto_url: str, manager: EventManager) -> Any:
    """Return an observed client of DynamoDB."""
    return observe(clients.make("dynamodb", moto_url), event_manager=manager)


def key(name: str) -> dict[str, Any]:
    return {"id": {"S": name}}


CALLS: dict[str, tuple[str, dict[str, Any], tuple[str, str | None, int | None]]] = {
    "get": ("get_item", {"Key": key("one")}, ("get", "read", 1)),
    "put": ("put_item", {"Item": SECRET}, ("set", "write", None)),
    "delete": ("delete_item", {"Key": key("one")}, ("delete", None, None)),
    "scan": ("scan", {}, ("query", None, 1)),
    "query": (
        "query",
        {"KeyConditionExpression": "id = :id", "ExpressionAttributeValues": {":id": {"S": "one"}}},
        ("query", None, 1),
    ),
    "update": (
        "update_item",
        {
            "Key": key("one"),
            "UpdateExpression": "SET note = :note",
            "ExpressionAttributeValues": {":note": {"S": "a secret value"}},
        },
        ("set", "write", None),
    ),
    "describe": ("describe_table", {}, ("execute", None, None)),
}


@pytest.mark.parametrize(("method", "parameters", "expected"), CALLS.values(), ids=CALLS)
def test_call_of_dynamodb_is_an_operation(
    method: str,
    parameters: dict[str, Any],
    expected: tuple[str, str | None, int | None],
    clients: Clients,
    client: Any,
    table: str,
    recorder: EventRecorder,
) -> None:
    clients.call(client.put_item, TableName=table, Item=SECRET)
    recorder.events.clear()
    clients.call(getattr(client, method), TableName=table, **parameters)

    recorder.one(StoreProgressStartEvent)
    end = recorder.one(StoreProgressEndEvent)
    assert (end.store, end.outcome, end.bytes, end.key) == (f"dynamodb:{table}", "ok", 0, None)
    assert (end.operation, end.direction, end.items) == expected
    assert not recorder.of(StoreModificationEvent)
    assert "secret" not in repr([vars(event) for event in recorder.events])


def test_item_that_is_not_found_is_a_miss(clients: Clients, client: Any, table: str, recorder: EventRecorder) -> None:
    assert "Item" not in clients.call(client.get_item, TableName=table, Key=key("missing"))

    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.outcome, end.items, end.error) == ("get", "miss", 0, None)


def test_batches_count_their_items(clients: Clients, client: Any, table: str, recorder: EventRecorder) -> None:
    writes = [{"PutRequest": {"Item": key(name)}} for name in ("a", "b", "c")]
    clients.call(client.batch_write_item, RequestItems={table: writes})
    for names in ("abcd", "xy"):
        clients.call(client.batch_get_item, RequestItems={table: {"Keys": [key(name) for name in names]}})

    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.operation, end.outcome, end.items) for end in ends] == [
        ("set", "ok", 3),
        ("get", "ok", 3),
        ("get", "miss", 0),
    ]
    assert {end.store for end in ends} == {f"dynamodb:{table}"}


def test_missing_table_is_an_error(clients: Clients, client: Any, recorder: EventRecorder) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        clients.call(client.get_item, TableName="no-such-table", Key=key("one"))

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.error_type) == ("error", "not_found")


def test_failed_condition_is_a_conflict(clients: Clients, client: Any, table: str, recorder: EventRecorder) -> None:
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        clients.call(client.put_item, TableName=table, Item=SECRET, ConditionExpression="attribute_exists(id)")

    end = recorder.one(StoreProgressEndEvent)
    assert (end.outcome, end.error_type) == ("error", "conflict")


def test_committed_transact_write_items_is_a_transaction(
    clients: Clients, client: Any, table: str, recorder: EventRecorder
) -> None:
    puts = [{"Put": {"TableName": table, "Item": key(name)}} for name in ("a", "b")]
    clients.call(client.transact_write_items, TransactItems=puts)

    start, end = recorder.one(StoreTransactionStartEvent), recorder.one(StoreTransactionEndEvent)
    operation = recorder.one(StoreProgressEndEvent)
    assert (end.store, end.outcome, end.operations) == (f"dynamodb:{table}", "committed", 1)
    assert operation.transaction_id == start.transaction_id == end.transaction_id
    assert (operation.operation, operation.items, operation.outcome) == ("set", 2, "ok")


def test_cancelled_transact_write_items_is_rolled_back(
    clients: Clients, client: Any, table: str, recorder: EventRecorder
) -> None:
    check = {"TableName": table, "Key": key("missing"), "ConditionExpression": "attribute_exists(id)"}
    items = [{"Put": {"TableName": table, "Item": key("a")}}, {"ConditionCheck": check}]
    with pytest.raises(client.exceptions.TransactionCanceledException):
        clients.call(client.transact_write_items, TransactItems=items)

    end, operation = recorder.one(StoreTransactionEndEvent), recorder.one(StoreProgressEndEvent)
    assert (end.outcome, operation.outcome, operation.error_type) == ("rolled_back", "error", "conflict")
    assert type(end.error).__name__ == "TransactionCanceledException"


def test_transact_write_items_without_an_answer_is_a_failed_commit(
    clients: Clients, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(clients.make("dynamodb", "http://127.0.0.1:9"), event_manager=manager)
    with pytest.raises(Exception, match="Could not connect"):
        clients.call(client.transact_write_items, TransactItems=[{"Put": {"TableName": "t", "Item": key("a")}}])

    assert recorder.one(StoreTransactionEndEvent).outcome == "commit_failed"


def test_table_of_a_resource_is_observed(
    moto_url: str, table: str, manager: EventManager, recorder: EventRecorder
) -> None:
    resource = observe(SyncClients().resource("dynamodb", moto_url), event_manager=manager)
    items = resource.Table(table)
    items.put_item(Item={"id": "one", "count": 5})

    assert items.get_item(Key={"id": "one"})["Item"]["count"] == 5
    assert "Item" not in items.get_item(Key={"id": "two"})
    with items.batch_writer() as batch:
        batch.put_item(Item={"id": "three"})
        batch.delete_item(Key={"id": "one"})
    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.operation, end.outcome, end.items) for end in ends] == [
        ("set", "ok", None),
        ("get", "ok", 1),
        ("get", "miss", 0),
        ("set", "ok", 2),
    ]


def test_calls_of_another_service_are_execute(
    clients: Clients, moto_url: str, manager: EventManager, recorder: EventRecorder
) -> None:
    client = observe(clients.make("sqs", moto_url), event_manager=manager)
    url = clients.call(client.create_queue, QueueName="orders")["QueueUrl"]
    clients.call(client.send_message, QueueUrl=url, MessageBody="a secret value")

    ends = recorder.of(StoreProgressEndEvent)
    assert [(end.store, end.operation, end.message, end.key, end.bytes) for end in ends] == [
        ("sqs", "execute", "CreateQueue", None, 0),
        ("sqs", "execute", "SendMessage", None, 0),
    ]
    assert "secret" not in repr([vars(event) for event in recorder.events])


@pytest.fixture
def selected(clients: Clients, moto_url: str, manager: EventManager, recorder: EventRecorder) -> Any:
    """Return the response of SelectObjectContent."""
    client = clients.make("s3", moto_url)
    clients.call(client.create_bucket, Bucket="selected")
    clients.call(client.put_object, Bucket="selected", Key="rows.csv", Body=b"a,b\n1,2\n3,4\n" * 500)
    return clients.call(
        observe(client, event_manager=manager).select_object_content,
        Bucket="selected",
        Key="rows.csv",
        ExpressionType="SQL",
        Expression="SELECT * FROM S3Object",
        InputSerialization={"CSV": {"FileHeaderInfo": "USE"}},
        OutputSerialization={"CSV": {}},
    )


def test_select_object_content_is_a_get_that_ends_with_its_events(
    clients: Clients, selected: Any, recorder: EventRecorder
) -> None:
    assert not recorder.of(StoreProgressEndEvent)
    events = clients.chunks(selected["Payload"])

    size = sum(len(event["Records"]["Payload"]) for event in events if "Records" in event)
    end = recorder.one(StoreProgressEndEvent)
    assert (end.operation, end.key, end.outcome) == ("get", "selected/rows.csv", "ok")
    assert end.bytes == size > 0


def test_closed_event_stream_ends_its_get(clients: Clients, selected: Any, recorder: EventRecorder) -> None:
    clients.call(selected["Payload"].close)
    assert (recorder.one(StoreProgressEndEvent).outcome, recorder.one(StoreProgressEndEvent).bytes) == ("ok", 0)
