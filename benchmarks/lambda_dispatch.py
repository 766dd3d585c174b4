"""The Lambda host's inner loop against Powertools' batch processors, on the same events."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal  # noqa: TC003 - pydantic reads the annotation
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from pydantic import BaseModel, Json

from benchmarks.paired import Figure, paired, seconds_each
from queue_runtime import Message, queue_handler
from queue_runtime.testing import sqs_event
from queue_runtime.transports.sqs.wire import LAMBDA_RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY = json.dumps({"id": "order-1", "amount": "12.50"})
ATTRIBUTES = {"correlation_id": "request-1", "tenant": "acme"}


class Order(BaseModel):
    """A small typed body."""

    id: str
    amount: Decimal


class OrderRecord(SqsRecordModel):
    """The same body as Powertools' parser wants it."""

    body: Json[Order]


@queue_handler
def no_op(message: Message[bytes]) -> None:
    """Do nothing with a message."""


@queue_handler
def typed(order: Order) -> None:
    """Do nothing with a model."""


@queue_handler(concurrency=10)
async def async_no_op(message: Message[bytes]) -> None:
    """Do nothing, asynchronously."""


def figures() -> Iterator[Figure]:
    """Measure the lines that the design promises."""
    logging.disable(logging.CRITICAL)
    for records, limit in ((10, 1.0), (1000, 1.5)):
        event = sqs_event(*[BODY] * records, attributes=ATTRIBUTES)
        yield paired(
            f"sync no-op, {records:,} records / Powertools BatchProcessor",
            partial(no_op, event, None),
            _powertools(event, lambda record: None),
            per_call=records,
            limit=limit,
        )
    for records in (10, 100):
        event = sqs_event(*[BODY] * records, attributes=ATTRIBUTES)
        yield paired(
            f"pydantic body, {records:,} records / Powertools with SqsRecordModel",
            partial(typed, event, None),
            _powertools(event, lambda record: None, model=OrderRecord),
            per_call=records,
            limit=0.5,
        )
    for records in (10, 100):
        event = sqs_event(*[BODY] * records, attributes=ATTRIBUTES)
        yield paired(
            f"async no-op, concurrency 10, {records:,} records / AsyncBatchProcessor",
            partial(async_no_op, event, None),
            _async_powertools(event),
            per_call=records,
            limit=0.5,
        )
    yield _model()


def _powertools(
    event: dict[str, Any], handler: Callable[[Any], None], model: Any = None
) -> Callable[[], object]:
    processor = BatchProcessor(event_type=EventType.SQS, model=model)

    def record_handler(record: Any) -> None:
        handler(record)

    return lambda: process_partial_response(
        event=event, record_handler=record_handler, processor=processor
    )


def _async_powertools(event: dict[str, Any]) -> Callable[[], object]:
    processor = AsyncBatchProcessor(event_type=EventType.SQS)
    # Its own documentation makes it run on the default loop, which it keeps.
    asyncio.set_event_loop(asyncio.new_event_loop())

    async def record_handler(record: Any) -> None:
        return None

    return lambda: async_process_partial_response(
        event=event, record_handler=record_handler, processor=processor
    )


def _model() -> Figure:
    records = sqs_event(*[BODY] * 1000, attributes=ATTRIBUTES)["Records"]

    def build() -> None:
        [Message(record, LAMBDA_RECORD, "orders") for record in records]

    build()
    took = min(seconds_each(build, 20) for _ in range(9)) / len(records) * 1e6
    return Figure("building a Message (number promised, in us)", took, None, "us", took, 0.3)
