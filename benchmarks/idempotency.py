"""Idempotency against Powertools': requests a batch and CPU a message, over made-up replies."""

from __future__ import annotations

import json
import logging
import os
from itertools import count
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from benchmarks.paired import Figure, figure
from queue_runtime import Idempotency, Message, queue_handler
from queue_runtime.clouds.aws import dynamodb_client
from queue_runtime.idempotency.stores.dynamodb import DynamoDbStore
from queue_runtime.idempotency.stores.memory import MemoryStore
from queue_runtime.testing import sqs_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queue_runtime.idempotency.store import IdempotencyStore

BODY = json.dumps({"id": "order-1", "amount": "12.50"})
RECORDS = 10
_ROUNDS = 40
_numbers = count()


class _Raw:
    """An HTTP body in one piece."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


class Replies:
    """Answers every request of a client by itself, as DynamoDB does when all is well."""

    def __init__(self, client: Any) -> None:
        self.requests = 0
        client.meta.events.register("before-send.dynamodb", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.requests += 1
        headers = HTTPHeaders.from_dict({"content-type": "application/x-amz-json-1.0"})
        return AWSResponse(request.url, 200, headers, _Raw(b"{}"))


def figures() -> Iterator[Figure]:
    """Measure the lines that the design promises."""
    logging.disable(logging.CRITICAL)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="us-east-1"
    )
    os.environ.update(AWS_DEFAULT_REGION="us-east-1", POWERTOOLS_SERVICE_NAME="bench")
    yield _requests()
    yield _against_powertools()
    yield _memory()


def event() -> dict[str, Any]:
    """Make a batch of messages that were never seen before."""
    made = sqs_event(*[BODY] * RECORDS)
    for record in made["Records"]:
        record["messageId"] = f"message-{next(_numbers)}"
    return made


def _idempotent(store: IdempotencyStore) -> Any:
    @queue_handler(idempotency=Idempotency(store=store))
    def handler(message: Message[dict[str, Any]]) -> None:
        """Do nothing once; the id is read, as it is for every log line."""
        _ = message.id

    return handler


def _requests() -> Figure:
    client = dynamodb_client("us-east-1")
    replies = Replies(client)
    handler = _idempotent(DynamoDbStore("claims", client=client))
    handler(event(), None)
    return Figure(
        f"requests for a batch of {RECORDS} new messages on DynamoDB (number promised)",
        replies.requests, None, "requests", replies.requests, 3,
    )  # fmt: skip


def _against_powertools() -> Figure:
    client = dynamodb_client("us-east-1")
    Replies(client)
    ours = _idempotent(DynamoDbStore("claims", client=client))
    theirs = _powertools()
    ours(event(), None), theirs(event())
    pairs = [(_cpu(lambda e: ours(e, None)), _cpu(theirs)) for _ in range(_ROUNDS)]
    return figure("CPU a message with DynamoDB / Powertools idempotent_function", pairs, "us", 0.2)


def _powertools() -> Any:
    client = boto3.client("dynamodb", region_name="us-east-1")
    Replies(client)
    layer = DynamoDBPersistenceLayer("claims", boto3_client=client)
    config = IdempotencyConfig(event_key_jmespath="messageId")
    processor = BatchProcessor(event_type=EventType.SQS)

    def once(data: dict[str, Any]) -> None:
        """Do nothing, once."""

    guard: Any = idempotent_function
    guarded = guard(once, data_keyword_argument="data", persistence_store=layer, config=config)

    def handle(record: Any) -> None:
        guarded(data=record.raw_event)

    return lambda e: process_partial_response(event=e, record_handler=handle, processor=processor)


def _cpu(call: Any) -> float:
    batch = event()
    started = process_time()
    call(batch)
    return (process_time() - started) / RECORDS * 1e6


def _memory() -> Figure:
    @queue_handler
    def plain(message: Message[dict[str, Any]]) -> None:
        """Do nothing."""
        _ = message.id

    guarded = _idempotent(MemoryStore())
    guarded(event(), None), plain(event(), None)
    extra = [_wall(guarded) - _wall(plain) for _ in range(_ROUNDS * 10)]
    took = median(extra)
    return Figure("memory store (number promised, in us a message)", took, None, "us", took, 3)


def _wall(handler: Any) -> float:
    batch = event()
    started = perf_counter()
    handler(batch, None)
    return (perf_counter() - started) / RECORDS * 1e6
