"""A Lambda function on Powertools' BatchProcessor, with a model for its bodies."""

# --8<-- [start:handler]
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from pydantic import BaseModel, Json

booked: list[str] = []


class Order(BaseModel):
    id: str
    amount: int


class OrderRecord(SqsRecordModel):
    body: Json[Order]


processor = BatchProcessor(
    event_type=EventType.SQS, model=OrderRecord, raise_on_entire_batch_failure=False
)


def take_record(record: OrderRecord) -> None:
    order = record.body
    if order.amount < 0:
        raise ValueError("negative amount")
    booked.append(order.id)


def handler(event: dict[str, Any], context: Any) -> Any:
    return process_partial_response(
        event=event, record_handler=take_record, processor=processor, context=context
    )


# --8<-- [end:handler]
