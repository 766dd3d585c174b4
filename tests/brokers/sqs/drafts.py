"""Turns a send request, or one entry of a batch, into a checked draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers.sqs import errors, limits
from tests.brokers.sqs.messages import Draft

if TYPE_CHECKING:
    from tests.brokers.sqs.fields import Fields
    from tests.brokers.sqs.settings import QueueSettings


def draft_of(fields: Fields, settings: QueueSettings) -> Draft:
    """The message that `fields` ask for, refused if the queue's type or a limit forbids it."""
    body = fields.required_text("MessageBody")
    limits.check_body(body)
    attributes = fields.attributes("MessageAttributes")
    limits.check_message_attributes(attributes)
    group, deduplication_id = _tokens(fields, settings)
    return Draft(
        body, attributes, _trace_header(fields), group, deduplication_id, _delay(fields, settings)
    )


def _tokens(fields: Fields, settings: QueueSettings) -> tuple[str, str]:
    group, deduplication_id = fields.text("MessageGroupId"), fields.text("MessageDeduplicationId")
    if group:
        limits.check_token(group, "MessageGroupId")
    if deduplication_id:
        limits.check_token(deduplication_id, "MessageDeduplicationId")
    if not settings.fifo and deduplication_id:
        raise errors.wrong_queue_type(deduplication_id, "MessageDeduplicationId")
    if settings.fifo:
        if not group:
            raise errors.missing_parameter("MessageGroupId")
        check_deduplication(deduplication_id, settings)
    return group, deduplication_id


def check_deduplication(deduplication_id: str, settings: QueueSettings) -> None:
    if not deduplication_id and not settings.content_deduplication:
        raise errors.invalid_value(
            "The queue should either have ContentBasedDeduplication enabled or "
            "MessageDeduplicationId provided explicitly"
        )


def _delay(fields: Fields, settings: QueueSettings) -> int | None:
    delay = fields.number("DelaySeconds")
    if delay is None:
        return None
    if settings.fifo and delay:
        raise errors.wrong_queue_type(delay, "DelaySeconds")
    if not 0 <= delay <= limits.DELAY:
        raise errors.invalid_parameter(
            delay, "DelaySeconds", f"DelaySeconds must be >= 0 and <= {limits.DELAY}."
        )
    return None if settings.fifo else delay


def _trace_header(fields: Fields) -> str:
    system = fields.attributes("MessageSystemAttributes")
    if not system:
        return ""
    for name in system:
        if name != "AWSTraceHeader":
            raise errors.invalid_value(
                f"Message system attribute name '{name}' is invalid. "
                "The only one that can be sent is AWSTraceHeader."
            )
    value = system["AWSTraceHeader"]
    limits.check_message_attributes({"TraceHeader": value})
    if value["DataType"] != "String":
        raise errors.invalid_value("The type of message system attribute must be String.")
    return value["StringValue"]
