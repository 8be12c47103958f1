"""Tables, and summaries of what was recorded."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped

from encore_events.testing import EventRecorder
from encore_storage.events import (
    StoreProgressEndEvent,
    StoreProgressStartEvent,
    StoreTransactionEndEvent,
    StoreTransactionStartEvent,
)

METADATA = MetaData()
ORDERS = Table(
    "orders_",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, unique=True, nullable=False),
    Column("size", Integer),
)
ITEMS = Table(
    "orders_items",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("order_id", Integer, ForeignKey("orders_.id", deferrable=True, initially="DEFERRED"), nullable=False),
)


class Base(DeclarativeBase):
    metadata = METADATA


class Order(Base):
    __table__ = ORDERS

    id: Mapped[int]
    name: Mapped[str]
    size: Mapped[int | None]


class Ended(NamedTuple):
    """The end of an operation."""

    operation: str | None
    outcome: str
    items: int | None = None
    error_type: str | None = None


def operations(recorder: EventRecorder) -> list[Ended]:
    """Return the ends of the statements; each has one start."""
    ends = [end for end in recorder.of(StoreProgressEndEvent) if end.message != "CONNECT"]
    starts = [start for start in recorder.of(StoreProgressStartEvent) if start.message != "CONNECT"]
    assert sorted(start.operation_id for start in starts) == sorted(end.operation_id for end in ends)
    return [Ended(end.operation, end.outcome, end.items, end.error_type) for end in ends]


def transactions(recorder: EventRecorder) -> list[str]:
    """Return the outcomes of the transactions; each has one start."""
    ends = recorder.of(StoreTransactionEndEvent)
    starts = recorder.of(StoreTransactionStartEvent)
    assert sorted(start.transaction_id for start in starts) == sorted(end.transaction_id for end in ends)
    return [end.outcome for end in ends]


def last(recorder: EventRecorder) -> StoreTransactionEndEvent:
    """Return the end of the last transaction that ended."""
    return recorder.of(StoreTransactionEndEvent)[-1]


def code_of(end: StoreProgressEndEvent | StoreTransactionEndEvent) -> str | None:
    """Return the code of the error."""
    code: str | None = getattr(end.error, "code", None)
    return code


def errors(recorder: EventRecorder) -> list[tuple[str, str | None]]:
    """Return the classes and codes of the errors of transactions."""
    ends = recorder.of(StoreTransactionEndEvent)
    return [(type(end.error).__name__, code_of(end)) for end in ends if end.error is not None]
