"""What a handler's tests need: deliveries through the real pipeline, and the hosts' own events."""

from queue_runtime.testing.delivery import adeliver, deliver
from queue_runtime.testing.events import (
    LambdaContextStub,
    body_text,
    lambda_context,
    sns_notification,
    sqs_event,
    sqs_record,
)

__all__ = [
    "LambdaContextStub",
    "adeliver",
    "body_text",
    "deliver",
    "lambda_context",
    "sns_notification",
    "sqs_event",
    "sqs_record",
]
