"""Helps to test handlers: deliveries through the real pipeline, and the hosts' own events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queue_runtime.testing.delivery import adeliver, deliver
from queue_runtime.testing.events import (
    LambdaContextStub,
    body_text,
    lambda_context,
    sns_notification,
    sqs_event,
    sqs_record,
)

if TYPE_CHECKING:
    from queue_runtime.testing.conformance import Features, TransportConformance

__all__ = [
    "Features",
    "LambdaContextStub",
    "TransportConformance",
    "adeliver",
    "body_text",
    "deliver",
    "lambda_context",
    "sns_notification",
    "sqs_event",
    "sqs_record",
]


def __getattr__(name: str) -> object:
    # The suite for transports, which tests of handlers do not need.
    if name not in ("Features", "TransportConformance"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from queue_runtime.testing import conformance

    return getattr(conformance, name)
