"""Builds what the hosts hand over, in the exact shape of the real thing."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from hashlib import md5
from typing import Any
from uuid import UUID, uuid5

_NAMESPACE = UUID("5f2f3c0e-6d0f-4c53-9a3b-3f6d0f1f8b1d")


def body_text(body: Any) -> str:
    """Write a body as a producer would: text and bytes as they are, anything else as JSON."""
    if isinstance(body, str):
        return body
    if isinstance(body, bytes):
        return body.decode()
    from pydantic_core import to_json

    return to_json(body).decode()


def sqs_record(
    body: Any,
    *,
    id: str | None = None,
    queue: str = "orders",
    deliveries: int = 1,
    group_id: str | None = None,
    attributes: dict[str, Any] | None = None,
    position: int = 1,
) -> dict[str, Any]:
    """Make one record of an SQS event (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html).

    Args:
        body: text, or anything that JSON can hold.
        id: the message id; None makes one that is the same for the same position.
        queue: the queue's name, or its whole ARN.
        deliveries: ApproximateReceiveCount.
        group_id: MessageGroupId; queues whose name ends in `.fifo` get one anyway.
        attributes: message attributes: str, int, float or bytes by name.
        position: tells records without an id apart.
    """
    text = body_text(body)
    arn = queue if queue.startswith("arn:") else f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    now = int(time.time() * 1000)
    system = {
        "ApproximateReceiveCount": str(deliveries),
        "SentTimestamp": str(now - 1000),
        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
        "ApproximateFirstReceiveTimestamp": str(now),
    }
    if arn.endswith(".fifo"):
        system |= {
            "SequenceNumber": str(18849496460467696128 + position),
            "MessageGroupId": group_id or "group-1",
            "MessageDeduplicationId": str(uuid5(_NAMESPACE, f"dedup-{position}")),
        }
    elif group_id:
        system["MessageGroupId"] = group_id
    return {
        "messageId": id or str(uuid5(_NAMESPACE, f"{arn}-{position}")),
        "receiptHandle": f"AQEB-receipt-{position}",
        "body": text,
        "attributes": system,
        "messageAttributes": {
            name: _attribute(value) for name, value in (attributes or {}).items()
        },
        "md5OfBody": md5(text.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }


def sqs_event(
    *bodies: Any,
    queue: str = "orders",
    deliveries: int = 1,
    group_id: str | None = None,
    attributes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the event that Lambda gives a function behind an SQS queue, a record for each body.

    A body that is already a record (from `sqs_record`) is taken as it is.
    """
    return {
        "Records": [
            body
            if isinstance(body, dict) and "messageId" in body and "eventSourceARN" in body
            else sqs_record(
                body,
                queue=queue,
                deliveries=deliveries,
                group_id=group_id,
                attributes=attributes,
                position=position,
            )
            for position, body in enumerate(bodies, start=1)
        ]
    }


def sns_notification(body: Any, *, attributes: dict[str, str] | None = None) -> str:
    """Wrap a body as SNS does for a queue that is subscribed without raw message delivery."""
    text = body_text(body)
    notification: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": str(uuid5(_NAMESPACE, text)),
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:orders",
        "Message": text,
        "Timestamp": "2026-11-25T09:00:00.000Z",
    }
    if attributes:
        notification["MessageAttributes"] = {
            name: {"Type": "String", "Value": value} for name, value in attributes.items()
        }
    return json.dumps(notification)


class LambdaContextStub:
    """Lambda's context object, counting down in real time from `seconds`."""

    function_name = "orders"
    function_version = "$LATEST"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:orders"
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    log_group_name = "/aws/lambda/orders"
    log_stream_name = "2026/11/25/[$LATEST]00000000000000000000000000000000"

    def __init__(self, seconds: float, memory_limit_in_mb: int) -> None:
        self.memory_limit_in_mb = memory_limit_in_mb
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Give the time until Lambda would end the invocation."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


def lambda_context(*, seconds: float = 30.0, memory: int = 1769) -> LambdaContextStub:
    """Make a context with `seconds` left and `memory` in MB; 1,769 MB is one whole CPU."""
    return LambdaContextStub(seconds, memory)


def _attribute(value: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    if isinstance(value, bytes):
        return {"binaryValue": b64encode(value).decode(), **lists, "dataType": "Binary"}
    kind = "Number" if isinstance(value, int | float) else "String"
    return {"stringValue": str(value), **lists, "dataType": kind}
