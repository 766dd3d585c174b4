"""Spells messages and queue attributes the way a reply shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.brokers.sqs import errors
from tests.brokers.sqs.md5 import attributes_md5
from tests.brokers.sqs.queues import Queue, public_sequence
from tests.brokers.sqs.settings import READABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.brokers.sqs.fields import Fields
    from tests.brokers.sqs.messages import Message, MessageAttributes

_SENDER = "AIDAEXAMPLEEXAMPLE000"
_SYSTEM_NAMES = (
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
)


class Rendering:
    """What one ReceiveMessage asked to see of its messages."""

    __slots__ = ("_every_name", "_names", "_prefixes", "_system")

    def __init__(self, fields: Fields) -> None:
        wanted = fields.texts("AttributeNames") + fields.texts("MessageSystemAttributeNames")
        for name in wanted:
            # The names of queue attributes may be asked for here too; they give nothing.
            if name != "All" and name not in _SYSTEM_NAMES and name not in READABLE:
                raise errors.unknown_attribute(name)
        self._system = set(_SYSTEM_NAMES if "All" in wanted else wanted)
        names = fields.texts("MessageAttributeNames")
        self._every_name = "All" in names or ".*" in names
        self._names = set(names)
        self._prefixes = tuple(name[:-2] for name in names if name.endswith(".*"))

    def reply(self, queue: Queue, messages: Sequence[Message]) -> dict[str, Any]:
        """The reply to a receive; without messages it has no member at all."""
        if not messages:
            return {}
        return {"Messages": [self._message(queue, message) for message in messages]}

    def _message(self, queue: Queue, message: Message) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "MessageId": message.id,
            "ReceiptHandle": queue.receipt(message),
            "MD5OfBody": message.body_md5,
            "Body": message.body,
        }
        if self._system and (system := self._system_attributes(queue, message)):
            shown["Attributes"] = system
        if message.attributes and (attributes := self._attributes(message)):
            shown["MessageAttributes"] = attributes
            shown["MD5OfMessageAttributes"] = attributes_md5(attributes)
        return shown

    def _system_attributes(self, queue: Queue, message: Message) -> dict[str, str]:
        known = {
            "SenderId": _SENDER,
            "SentTimestamp": _milliseconds(message.sent_at),
            "ApproximateReceiveCount": str(message.receives),
            "ApproximateFirstReceiveTimestamp": _milliseconds(message.first_received_at),
            "SequenceNumber": str(public_sequence(message)) if queue.settings.fifo else "",
            "MessageDeduplicationId": message.deduplication_id,
            "MessageGroupId": message.group,
            "AWSTraceHeader": message.trace_header,
            "DeadLetterQueueSourceArn": message.source_arn,
        }
        return {name: text for name, text in known.items() if text and name in self._system}

    def _attributes(self, message: Message) -> MessageAttributes:
        if self._every_name:
            return message.attributes
        return {
            name: value
            for name, value in message.attributes.items()
            if name in self._names or name.startswith(self._prefixes)
        }


def queue_attributes(queue: Queue, names: Sequence[str]) -> dict[str, str]:
    """The attributes asked for that the queue has; asking for none gives none."""
    for name in names:
        if name != "All" and name not in READABLE:
            raise errors.unknown_attribute(name)
    counts = queue.counts()
    known = queue.settings.values | {
        "QueueArn": queue.arn,
        "ApproximateNumberOfMessages": str(counts.visible),
        "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
        "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
        "CreatedTimestamp": str(int(queue.created_at)),
        "LastModifiedTimestamp": str(int(queue.modified_at)),
    }
    return known if "All" in names else {name: known[name] for name in names if name in known}


def _milliseconds(at: float) -> str:
    return str(int(at * 1000))
