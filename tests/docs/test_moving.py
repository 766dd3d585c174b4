"""Both sides of each page on moving give the same verdict over the same event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from queue_runtime.testing import lambda_context, sqs_record
from tests.docs.examples import FOLDER, load

if TYPE_CHECKING:
    from collections.abc import Iterator

BODIES = {
    "good": '{"id": "good", "amount": 3}',
    "negative": '{"id": "negative", "amount": -3}',
    "broken": '{"id": "broken", ',
    "incomplete": '{"id": "incomplete"}',
    "zero": '{"id": "zero", "amount": 0}',
}


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give an SQS that is really asked, because a retry changes the message's visibility there."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("sqs", region_name="us-east-1")


@pytest.fixture
def event(sqs: Any) -> dict[str, Any]:
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    for body in BODIES.values():
        sqs.send_message(QueueUrl=url, MessageBody=body)
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    arn = f"arn:aws:sqs:us-east-1:{url.split('/')[-2]}:orders"
    return {
        "Records": [
            sqs_record(message["Body"], id=message["MessageId"], queue=arn)
            | {"receiptHandle": message["ReceiptHandle"]}
            for message in received
        ]
    }


@pytest.mark.parametrize("origin", ["plain", "powertools"])
def test_same_verdict_over_the_same_event(origin: str, event: dict[str, Any]) -> None:
    before = load(FOLDER / "moving" / f"{origin}_before.py")
    after = load(FOLDER / "moving" / f"{origin}_after.py")
    expected = before.handler(event, lambda_context())
    assert after.handler(event, lambda_context()) == expected
    assert after.booked == before.booked == ["good", "zero"]
    assert len(expected["batchItemFailures"]) == 3
